/* box.c - see box.h. */
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "unit.h"

#include "box.h"

struct host host;

char *lit(const char *s)
{
	return (char *)(uintptr_t)s;
}

int box_start(void **state unused_arg)
{
	(void)host_start(&host, NULL);
	return 0;
}

int box_stop(void **state unused_arg)
{
	host_stop(&host);
	return 0;
}

void shell_init(struct ctr_box *b, const char *script)
{
	const char *argv[] = { "/bin/sh", "-c", script, NULL };

	ctr_box_init(b, argv);
}

void expect(struct ctr_box *b, const char *out, uint32_t status)
{
	struct run r;
	char *text, *err;

	run_init(&r);
	host_run(&host, &b->c, &r);
	if (r.code < 0)
		print_message("# refused: %s\n", r.text);
	assert_int_equal(r.code, 0);
	text = run_text(r.out);
	err = run_text(r.err);
	if (strcmp(text, out) != 0 || *err)
		print_message("# stderr: %s\n", err);
	assert_string_equal(text, out);
	assert_int_equal(r.status, status);
	free(text);
	free(err);
	run_fini(&r);
}

void expect_refused(struct ctr_box *b, int code, const char *part)
{
	struct run r;

	run_init(&r);
	assert_int_equal(host_create(&host, &b->c, &r), code);
	if (!strstr(r.text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, r.text);
	run_fini(&r);
	assert_int_equal(host.n_exits, 0);
}

bool has_byte(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_size > 0;
}

static struct run *watched;

static const char *watched_text;

static bool has_output(struct host *h unused_arg)
{
	char *text = run_text(watched->out);
	bool has = strstr(text, watched_text) != NULL;

	free(text);
	return has;
}

void wait_text(struct run *r, const char *text)
{
	watched = r;
	watched_text = text;
	host_until(&host, has_output);
}

void wait_output(struct run *r)
{
	wait_text(r, "\n");
}

int signal_proc(uint32_t proc, uint32_t sig, bool all)
{
	struct msg_signal m = { .proc = proc, .sig = sig, .all = all };

	return host_ask(&host, MSG_A_SIGNAL, &rec_signal, &m);
}

void exec_line(struct run *r, uint32_t proc, const char *script, void (*set)(struct msg_process *p))
{
	static char *args[8], *env[8];
	const char *const argv[] = { "/bin/sh", "-c", script, NULL };
	struct msg_process p;

	process_init(&p, args, env, argv);
	if (set)
		set(&p);
	run_init(r);
	r->proc = proc;
	(void)host_exec(&host, &p, r);
}

void expect_exec(uint32_t proc, const char *script, void (*set)(struct msg_process *p), const char *out,
		 uint32_t status)
{
	struct run r;
	char *text;

	exec_line(&r, proc, script, set);
	if (r.code)
		print_message("# %s\n", r.text);
	assert_int_equal(r.code, 0);
	host_finish(&host, &r);
	text = run_text(r.out);
	assert_string_equal(text, out);
	assert_int_equal(r.status, status);
	free(text);
	run_fini(&r);
}

void as_user(struct msg_process *p)
{
	p->uid = 1000;
	p->gid = 1000;
	p->cwd = lit("/tmp");
	p->caps = (struct msg_caps){ 0 };
	p->has_oom_score_adj = true;
	p->oom_score_adj = 321;
}
