/* test_hooks.c - runtime/hooks.h: order, what a hook is given, and hooks that fail or don't end. The hooks
 * are shell scripts. */
#include "unit.h"

#include <errno.h>

#include "base/io.h"
#include "runtime/hooks.h"
#include "tmpdir.h"

#define STATE_JSON "{\"id\":\"c1\",\"status\":\"creating\"}"

struct fixture {
	struct tmpdir *t;
	struct spec spec;
	struct spec_hook hooks[4];
	char *args[4][4], *env[3];
	char *script[4];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	void *t = NULL;

	if (!f || tmpdir_set_up(&t) < 0)
		return -1;
	f->t = t;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	void *t = f->t;

	for (size_t i = 0; i < 4; i++)
		free(f->script[i]);
	free(f);
	return tmpdir_tear_down(&t);
}

/* Adds a hook that runs a shell script; DIR in it is the test's directory. */
static struct spec_hook *add(struct fixture *f, enum spec_hook_kind kind, const char *script)
{
	spec_hook_list *l = &f->spec.hooks.lists[kind];
	size_t i = l->n++;
	char **args = f->args[i];

	l->p = f->hooks;
	f->script[i] = str_fmt("cd %s; %s", f->t->path, script);
	args[0] = f->script[i] ? (char *)(uintptr_t) "argv-zero" : NULL;
	args[1] = (char *)(uintptr_t) "-c";
	args[2] = f->script[i];
	f->hooks[i] =
		(struct spec_hook){ .path = (char *)(uintptr_t) "/bin/sh", .args = { .p = args, .n = 3 } };
	return &f->hooks[i];
}

static int run(struct fixture *f, enum spec_hook_kind kind, struct strv *w, struct err *e)
{
	return hooks_run(&f->spec, kind, STATE_JSON, 0, w, e);
}

static void expect_file(struct fixture *f, const char *name, const char *want)
{
	scoped_free char *text = NULL;
	size_t n;

	assert_int_equal(io_read_file_at(f->t->fd, name, 4096, &text, &n), 0);
	assert_string_equal(text, want);
}

static void test_order_and_input(void **state)
{
	struct fixture *f = *state;
	scoped_strv w = { 0 };
	struct err e = { 0 };

	assert_false(hooks_any(&f->spec, HOOK_PRESTART));
	assert_int_equal(run(f, HOOK_PRESTART, &w, &e), 0); /* none */
	(void)add(f, HOOK_PRESTART, "echo one >> log; cat > in1; echo $0 > name");
	(void)add(f, HOOK_PRESTART, "echo two >> log; cat > in2");
	(void)add(f, HOOK_PRESTART, "echo three >> log"); /* reads nothing */
	assert_true(hooks_any(&f->spec, HOOK_PRESTART));
	assert_false(hooks_any(&f->spec, HOOK_POSTSTOP));
	assert_int_equal(run(f, HOOK_PRESTART, &w, &e), 0);
	expect_file(f, "log", "one\ntwo\nthree\n");
	expect_file(f, "in1", STATE_JSON);
	expect_file(f, "in2", STATE_JSON);
	expect_file(f, "name", "argv-zero\n");
	assert_int_equal(w.n, 0);
}

/* Exactly the environment of the hook, nothing of ours. */
static void test_env(void **state)
{
	struct fixture *f = *state;
	scoped_strv w = { 0 };
	struct err e = { 0 };
	struct spec_hook *h;

	assert_int_equal(setenv("COR_TEST_SECRET", "1", 1), 0);
	h = add(f, HOOK_PRESTART, "cat /proc/self/environ > env");
	f->env[0] = (char *)(uintptr_t) "PATH=/usr/bin:/bin";
	f->env[1] = (char *)(uintptr_t) "A=b c";
	h->env.p = f->env;
	h->env.n = 2;
	h = add(f, HOOK_PRESTART,
		"while IFS= read -r line; do :; done < /proc/self/environ; "
		"tr '\\0' '\\n' < /proc/$$/environ > none");
	assert_int_equal(run(f, HOOK_PRESTART, &w, &e), 0);
	{
		scoped_free char *text = NULL;
		size_t n;

		assert_int_equal(io_read_file_at(f->t->fd, "none", 4096, &text, &n), 0);
		assert_int_equal(n, 0);
		free(take_ptr(&text));
		assert_int_equal(io_read_file_at(f->t->fd, "env", 4096, &text, &n), 0);
		for (size_t i = 0; i < n; i++)
			text[i] = text[i] ? text[i] : '\n';
		assert_non_null(strstr(text, "A=b c\n"));
		assert_null(strstr(text, "COR_TEST_SECRET"));
	}
}

static void test_failure_ends_the_list(void **state)
{
	struct fixture *f = *state;
	scoped_strv w = { 0 };
	struct err e = { 0 };

	(void)add(f, HOOK_CREATE_RUNTIME, "exit 0");
	(void)add(f, HOOK_CREATE_RUNTIME, "printf 'no \\033[1m way'; echo and >&2; exit 3");
	(void)add(f, HOOK_CREATE_RUNTIME, "touch ran");
	assert_true(run(f, HOOK_CREATE_RUNTIME, &w, &e) < 0);
	assert_non_null(strstr(e.msg, "hooks.createRuntime[1] /bin/sh: exited with 3: no "));
	assert_non_null(strstr(e.msg, "and"));
	assert_null(strchr(e.msg, '\033'));
	assert_int_equal(faccessat(f->t->fd, "ran", F_OK, 0), -1);
	f->hooks[0].path = (char *)(uintptr_t) "/nonexistent/hook";
	assert_int_equal(run(f, HOOK_CREATE_RUNTIME, &w, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "hooks.createRuntime[0] /nonexistent/hook"));
}

static void test_poststop_goes_on(void **state)
{
	struct fixture *f = *state;
	scoped_strv w = { 0 };
	struct err e = { 0 };

	(void)add(f, HOOK_POSTSTOP, "kill -9 $$");
	(void)add(f, HOOK_POSTSTOP, "touch ran");
	assert_int_equal(run(f, HOOK_POSTSTOP, &w, &e), 0);
	assert_int_equal(w.n, 1);
	assert_non_null(strstr(w.p[0], "hooks.poststop[0] /bin/sh: was killed by signal 9"));
	assert_int_equal(faccessat(f->t->fd, "ran", F_OK, 0), 0);
}

static void test_timeout(void **state)
{
	struct fixture *f = *state;
	scoped_strv w = { 0 };
	struct err e = { 0 };
	struct spec_hook *h = add(f, HOOK_POSTSTART, "exec sleep 60");

	h->has_timeout = true;
	h->timeout = 1;
	assert_int_equal(run(f, HOOK_POSTSTART, &w, &e), -ETIMEDOUT);
	assert_non_null(strstr(e.msg, "timed out after 1 s"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_order_and_input), T(test_env),
					    T(test_failure_ends_the_list), T(test_poststop_goes_on),
					    T(test_timeout) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
