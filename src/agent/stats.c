/* stats.c - see stats.h. Reads the guest kernel's own files; processes come and go meanwhile, so a
 * file that has vanished is skipped. Distrusts: names and arguments of processes (bytes, escaped
 * by whoever prints them). */
#include "agent/stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "agent/proc.h"
#include "base/io.h"
#include "base/num.h"
#include "sys/cg2.h"

#define FILE_MAX     65536
#define CMD_MAX      1024
#define NS_DEPTH_MAX 32
#define PS_MAX       32768
#define PTS_MAJOR    136

size_t stats_parse_nspid(const char *status, uint32_t *pids, size_t cap)
{
	const char *line = strstr(status, "\nNSpid:");
	size_t n = 0;

	if (!line)
		return 0;
	line += strlen("\nNSpid:");
	while (n < cap) {
		char word[12];
		size_t len;
		uint64_t v;

		line += strspn(line, " \t");
		len = strcspn(line, " \t\n");
		if (len == 0)
			break;
		if (len >= sizeof word)
			return 0;
		memcpy(word, line, len);
		word[len] = '\0';
		if (num_parse_u64_max(word, UINT32_MAX, &v) < 0)
			return 0;
		pids[n++] = (uint32_t)v;
		line += len;
	}
	return n;
}

/* The number after "name:" in a status file. */
static bool status_number(const char *status, const char *name, uint64_t *ret)
{
	const char *line = strstr(status, name);
	char word[24];
	size_t len;

	if (!line)
		return false;
	line += strlen(name);
	line += strspn(line, " \t");
	len = strcspn(line, " \t\n");
	if (len == 0 || len >= sizeof word)
		return false;
	memcpy(word, line, len);
	word[len] = '\0';
	return num_parse_u64(word, ret) == 0;
}

struct scan {
	struct arena *mem;
	int proc;       /* /proc */
	bool by_pidns;  /* who is in the container: by its pid namespace, or by its cgroup */
	const char *cg; /* its procs file's text, "\n" before each line */
	struct msg_ps ps;
	size_t cap;
};

/* A process's pid as the container sees it; 0 = it isn't in there. */
static uint32_t inner_pid(const struct scan *s, const char *status)
{
	uint32_t pids[NS_DEPTH_MAX];
	size_t n = stats_parse_nspid(status, pids, NS_DEPTH_MAX);
	char line[16];

	if (s->by_pidns)
		return n >= 2 ? pids[1] : 0;
	(void)snprintf(line, sizeof line, "\n%u\n", n ? pids[0] : 0); /* fits */
	return n && strstr(s->cg, line) ? pids[0] : 0;
}

static char *read_proc(const struct scan *s, uint32_t pid, const char *file, size_t *ret_len)
{
	char path[64];
	char *text;

	(void)snprintf(path, sizeof path, "%u/%s", pid, file); /* fits */
	return io_read_file_at(s->proc, path, FILE_MAX, &text, ret_len) < 0 ? NULL : text;
}

/* Fields of /proc/PID/stat after the name: number 4 is the parent's pid. */
static bool stat_field(const char *stat, unsigned number, uint64_t *ret)
{
	const char *p = strrchr(stat, ')');
	char word[24];
	size_t len;

	for (unsigned i = 2; p && i < number; i++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	if (!p)
		return false;
	len = strcspn(p, " \n");
	if (len == 0 || len >= sizeof word)
		return false;
	memcpy(word, p, len);
	word[len] = '\0';
	return num_parse_u64(word, ret) == 0;
}

static char *command_of(struct scan *s, uint32_t pid, const char *stat)
{
	size_t n = 0;
	scoped_free char *args = read_proc(s, pid, "cmdline", &n);
	const char *open = strchr(stat, '('), *close = strrchr(stat, ')');

	if (!args || n == 0) /* a zombie: only the name is left */
		return open && close > open ? arena_fmt(s->mem, "[%.*s]", (int)(close - open - 1), open + 1)
					    : arena_str(s->mem, "?");
	n = (size_t)num_min(n, CMD_MAX);
	while (n > 0 && args[n - 1] == '\0')
		n--;
	for (size_t i = 0; i < n; i++)
		if (args[i] == '\0')
			args[i] = ' ';
	return arena_strn(s->mem, args, n);
}

static char *tty_of(struct scan *s, const char *stat)
{
	uint64_t nr;

	if (!stat_field(stat, 7, &nr) || nr == 0)
		return arena_str(s->mem, "?");
	if (major(nr) == PTS_MAJOR)
		return arena_fmt(s->mem, "pts/%u", minor(nr));
	return arena_fmt(s->mem, "%u:%u", major(nr), minor(nr));
}

static uint32_t inner_ppid(struct scan *s, const char *stat)
{
	scoped_free char *status = NULL;
	uint64_t ppid;
	size_t n;

	if (!stat_field(stat, 4, &ppid) || ppid == 0 || ppid > UINT32_MAX)
		return 0;
	status = read_proc(s, (uint32_t)ppid, "status", &n);
	return status ? inner_pid(s, status) : 0;
}

static int add_process(struct scan *s, uint32_t pid)
{
	size_t n;
	scoped_free char *status = read_proc(s, pid, "status", &n), *stat = NULL;
	uint64_t uid = 0, user = 0, sys = 0;
	struct msg_ps_entry *entry;
	uint32_t inner = status ? inner_pid(s, status) : 0;
	long ticks = sysconf(_SC_CLK_TCK);

	if (!inner || s->ps.entries.n == s->cap)
		return 0;
	stat = read_proc(s, pid, "stat", &n);
	if (!stat)
		return 0;
	(void)status_number(status, "\nUid:", &uid);
	(void)stat_field(stat, 14, &user);
	(void)stat_field(stat, 15, &sys);
	entry = &s->ps.entries.p[s->ps.entries.n];
	*entry = (struct msg_ps_entry){ .pid = inner,
					.ppid = inner_ppid(s, stat),
					.uid = (uint32_t)uid,
					.time_ms = (user + sys) * 1000 / (uint64_t)(ticks > 0 ? ticks : 100),
					.tty = tty_of(s, stat),
					.cmd = command_of(s, pid, stat) };
	if (!entry->tty || !entry->cmd)
		return -ENOMEM;
	s->ps.entries.n++;
	return 0;
}

static int scan_processes(struct scan *s)
{
	scoped_dir dir = opendir("/proc");
	struct dirent *ent;
	uint64_t pid;
	int r;

	if (!dir)
		return -errno;
	s->proc = dirfd(dir);
	while ((ent = readdir(dir)) != NULL) {
		if (num_parse_u64_max(ent->d_name, INT32_MAX, &pid) < 0)
			continue;
		r = add_process(s, (uint32_t)pid);
		if (r < 0)
			return r;
	}
	return 0;
}

int stats_send_ps(struct agent *a, uint32_t id, struct err *e)
{
	scoped_arena mem = { .max = 64u << 20 };
	scoped_free char *procs = NULL;
	struct scan s = { .mem = &mem, .by_pidns = (a->ctr.namespaces & CLONE_NEWPID) != 0, .cg = "" };
	size_t n;
	int r = 0;

	if (!a->ctr.exists)
		return err_set(e, -ESRCH, "container not running");
	if (!s.by_pidns && a->ctr.cg >= 0) {
		r = io_read_file_at(a->ctr.cg, "cgroup.procs", 1u << 20, &procs, &n);
		s.cg = procs ? arena_fmt(&mem, "\n%s", procs) : NULL;
		if (r < 0 || !s.cg)
			return err_set(e, r < 0 ? r : -ENOMEM, "list of processes: %m");
	}
	s.cap = PS_MAX;
	s.ps.entries.p = arena_array(&mem, s.cap, sizeof *s.ps.entries.p);
	r = s.ps.entries.p ? scan_processes(&s) : -ENOMEM;
	if (r < 0)
		return err_set(e, r, "list of processes: %m");
	r = mux_send(&a->mux, MSG_A_PS_RESULT, id, &rec_ps, &s.ps);
	return r < 0 ? err_set(e, r, "list of processes: send: %m") : 0;
}

static uint64_t number(int cg, const char *file)
{
	uint64_t v = 0;

	return cg2_read_u64(cg, file, &v) < 0 ? 0 : v;
}

static uint64_t keyed(int cg, const char *file, const char *key)
{
	uint64_t v = 0;

	return cg2_read_key(cg, file, key, &v) < 0 ? 0 : v;
}

int stats_send(struct agent *a, uint32_t id, struct err *e)
{
	int cg = a->ctr.cg;
	struct msg_stats m = { 0 };

	if (!a->ctr.exists)
		return err_set(e, -ESRCH, "container not running");
	if (cg < 0)
		return err_set(e, -ENODEV, "the guest has no cgroups: nothing is counted");
	m = (struct msg_stats){
		.cpu_usage_us = keyed(cg, "cpu.stat", "usage_usec"),
		.cpu_user_us = keyed(cg, "cpu.stat", "user_usec"),
		.cpu_system_us = keyed(cg, "cpu.stat", "system_usec"),
		.cpu_periods = keyed(cg, "cpu.stat", "nr_periods"),
		.cpu_throttled = keyed(cg, "cpu.stat", "nr_throttled"),
		.cpu_throttled_us = keyed(cg, "cpu.stat", "throttled_usec"),
		.mem_usage = number(cg, "memory.current"),
		.mem_limit = number(cg, "memory.max"),
		.mem_peak = number(cg, "memory.peak"),
		.mem_failcnt = keyed(cg, "memory.events", "max"),
		.mem_cache = keyed(cg, "memory.stat", "file"),
		.swap_usage = number(cg, "memory.swap.current"),
		.swap_limit = number(cg, "memory.swap.max"),
		.pids_current = number(cg, "pids.current"),
		.pids_limit = number(cg, "pids.max"),
		.oom_kills = keyed(cg, "memory.events", "oom_kill"),
	};
	agent_send(a, MSG_A_STATS_RESULT, id, &rec_stats, &m);
	return 0;
}
