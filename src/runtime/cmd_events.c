/* cmd_events.c - `cor events`: figures of the container's cgroup in the guest, one JSON object a line, in
 * the shape of runc's. */
#include <errno.h>
#include <time.h>

#include "oci/json.h"
#include "runtime/cli.h"
#include "runtime/client.h"
#include "runtime/ctr.h"
#include "runtime/out.h"
#include "runtime/verbs.h"

static void put_cpu(struct json_writer *w, const struct msg_stats *s)
{
	json_open(w, "cpu", '{');
	json_open(w, "usage", '{');
	json_put_u64(w, "total", s->cpu_usage_us * 1000);
	json_put_u64(w, "kernel", s->cpu_system_us * 1000);
	json_put_u64(w, "user", s->cpu_user_us * 1000);
	json_close(w, '}');
	json_open(w, "throttling", '{');
	json_put_u64(w, "periods", s->cpu_periods);
	json_put_u64(w, "throttledPeriods", s->cpu_throttled);
	json_put_u64(w, "throttledTime", s->cpu_throttled_us * 1000);
	json_close(w, '}');
	json_close(w, '}');
}

static void put_memory(struct json_writer *w, const struct msg_stats *s)
{
	json_open(w, "memory", '{');
	json_put_u64(w, "cache", s->mem_cache);
	json_open(w, "usage", '{');
	json_put_u64(w, "limit", s->mem_limit);
	json_put_u64(w, "usage", s->mem_usage);
	json_put_u64(w, "max", s->mem_peak);
	json_put_u64(w, "failcnt", s->mem_failcnt);
	json_close(w, '}');
	json_open(w, "swap", '{');
	json_put_u64(w, "limit", s->swap_limit);
	json_put_u64(w, "usage", s->swap_usage);
	json_put_u64(w, "failcnt", 0);
	json_close(w, '}');
	json_close(w, '}');
}

static int print_stats(const char *id, const struct msg_stats *s, struct err *e)
{
	scoped_str text = { 0 };
	struct json_writer w = { .to = &text, .indent = "" };

	json_open(&w, NULL, '{');
	json_put_str(&w, "type", "stats");
	json_put_str(&w, "id", id);
	json_open(&w, "data", '{');
	put_cpu(&w, s);
	put_memory(&w, s);
	json_open(&w, "pids", '{');
	json_put_u64(&w, "current", s->pids_current);
	json_put_u64(&w, "limit", s->pids_limit);
	json_close(&w, '}');
	json_close(&w, '}');
	json_close(&w, '}');
	str_addc(&text, '\n');
	return out_print(&text, e);
}

static int ask(struct ctr *c, struct msg_stats *ret, struct err *e)
{
	scoped_arena a = { .max = CTL_MAX };
	scoped_fd sock = -1;
	struct ctl_msg ans;
	int r;

	sock = client_connect(c->dirfd, e);
	if (sock < 0)
		return sock;
	r = client_ask(sock, MSG_C_STATS, NULL, NULL, NULL, 0, MSG_C_STATS_RESULT, &ans, e);
	if (r < 0)
		return r;
	r = ctl_decode(&ans, &a, ret);
	ctl_fini(&ans);
	return r < 0 ? err_set(e, r, "malformed figures of the monitor") : 0;
}

int cmd_events(struct cli *cli, struct err *e)
{
	scoped_ctr c = { .dirfd = -1, .lock_fd = -1 };
	struct timespec pause = { .tv_sec = (time_t)(cli->events_interval_ns / 1000000000),
				  .tv_nsec = (long)(cli->events_interval_ns % 1000000000) };
	struct msg_stats stats;
	int r;

	r = ctr_open_whole(cli->global.root, cli->id, &c, e);
	if (r < 0)
		return r;
	r = ctr_check(&c, LIFE_DO_QUERY, e);
	if (r < 0)
		return r;
	for (;;) {
		r = ask(&c, &stats, e);
		/* The container's end is the end of its events, not a failure. */
		if (r == -ESRCH && !cli->events_stats)
			return 0;
		if (r == 0)
			r = print_stats(c.id, &stats, e);
		if (r < 0 || cli->events_stats)
			return r;
		(void)nanosleep(&pause, NULL);
	}
}
