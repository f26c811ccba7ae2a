/* test_cli.c - the command line of `cor`: what callers send is understood, wrong lines say why.
 *
 * The verbs themselves are stand-ins here that note what they were called with; cli_main() is the real
 * one and runs in this process, with stdout and stderr in files. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/io.h"
#include "base/log.h"
#include "runtime/cli.h"
#include "runtime/verbs.h"

/* What a stand-in returns, and what it saw. */
static struct {
	const char *called;
	int returns;
	char id[64], bundle[64];
	size_t args;
	uint64_t memory;
	int signal;
	enum log_level level;
} verb;

static int stand_in(const char *name, const struct cli *c, struct err *e)
{
	verb.called = name;
	verb.args = c->args.n;
	verb.memory = c->settings.memory;
	verb.signal = c->kill_signal;
	verb.level = log_level_get();
	(void)snprintf(verb.id, sizeof verb.id, "%s", c->id ? c->id : "");
	(void)snprintf(verb.bundle, sizeof verb.bundle, "%s", c->create.bundle ? c->create.bundle : ".");
	return verb.returns < 0 ? err_set(e, verb.returns, "%s failed", name) : verb.returns;
}

#define STAND_IN(name)                                                                                       \
	int cmd_##name(struct cli *c, struct err *e)                                                         \
	{                                                                                                    \
		return stand_in(#name, (const struct cli *)c, e);                                            \
	}
VERBS(STAND_IN)

static const struct cli_env env = { "/nonexistent", "/os", "/libexec", "abc123" };

static char dir[] = "/tmp/test-cli-XXXXXX";

/* Splits a line at blanks into argv[1..]. */
static int split(char *line, char **argv)
{
	int n = 0;

	argv[n++] = (char *)(uintptr_t) "cor";
	for (char *save, *p = strtok_r(line, " ", &save); p; p = strtok_r(NULL, " ", &save))
		argv[n++] = p;
	return n;
}

static int parse(struct cli *c, const char *text, struct err *e)
{
	static char line[1024]; /* argv must outlive the parse */
	static char *argv[64];
	int n;

	(void)snprintf(line, sizeof line, "%s", text);
	n = split(line, argv);
	*e = (struct err){ 0 };
	return cli_parse(c, &env, n - 1, argv + 1, e);
}

static int redirect(int fd, const char *name)
{
	scoped_free char *path = str_fmt("%s/%s", dir, name);
	scoped_fd file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int saved = fcntl(fd, F_DUPFD_CLOEXEC, 10);

	assert_true(file >= 0 && saved >= 0);
	assert_int_equal(dup2(file, fd), fd);
	return saved;
}

static void put_back(int fd, int saved)
{
	assert_int_equal(dup2(saved, fd), fd);
	(void)close(saved);
}

static char *slurp(const char *name)
{
	scoped_free char *path = str_fmt("%s/%s", dir, name);
	char *text = NULL;
	size_t n;

	assert_int_equal(io_read_file_at(AT_FDCWD, path, 1 << 20, &text, &n), 0);
	return text;
}

struct result {
	int code;
	char *out, *err; /* free() */
};

/* Runs the whole program on a line. */
static struct result run(const char *text)
{
	char line[1024], *argv[64];
	struct result res;
	int out, err, n;

	(void)snprintf(line, sizeof line, "%s", text);
	n = split(line, argv);
	verb.called = NULL;
	out = redirect(STDOUT_FILENO, "out");
	err = redirect(STDERR_FILENO, "err");
	res.code = cli_main(n, argv, &env);
	put_back(STDERR_FILENO, err);
	put_back(STDOUT_FILENO, out);
	res.out = slurp("out");
	res.err = slurp("err");
	return res;
}

static void result_fini(struct result *r)
{
	free(r->out);
	free(r->err);
}

#define assert_has(text, part)                                                                               \
	do {                                                                                                 \
		if (!strstr((text), (part)))                                                                 \
			fail_msg("\"%s\" is not in \"%s\"", (part), (text));                                 \
	} while (0)

/* --- tables --- */

static void every_row_is_sound(void **state)
{
	(void)state;
	for (size_t v = 0; v < cli_n_verbs; v++) {
		const struct cli_verb *w = &cli_verbs[v];

		assert_ptr_equal(cli_find_verb(w->name), w);
		assert_true(w->max >= w->min && w->fail_code > 0);
		assert_true((w->run != NULL) != (w->unsupported != NULL));
		for (size_t i = 0; i < w->opts.n; i++) {
			const struct opt *o = &w->opts.rows[i];
			const char *ignored = "accepted and ignored: ";

			assert_ptr_equal(opt_find(&w->opts, o->name), o);
			assert_true(o->from == OPT_FROM_CLI && o->help && *o->help);
			assert_true((o->type == OPT_ENUM) == (o->values != NULL));
			assert_true(o->offset >= OPT_REFUSED || o->offset < sizeof(struct cli));
			assert_int_equal(o->offset == OPT_NOWHERE, str_starts(o->help, ignored));
			assert_int_equal(o->offset == OPT_REFUSED, str_starts(o->help, "refused: "));
			for (size_t j = 0; j < i; j++) {
				assert_true(!o->short_name || w->opts.rows[j].short_name != o->short_name);
				assert_true(o->offset >= OPT_REFUSED || w->opts.rows[j].offset != o->offset);
			}
		}
	}
}

/* Each option of each verb is taken, with a value that fits it. */
static void every_option_is_accepted(void **state)
{
	static const char *const values[OPT_TYPE_N] = {
		[OPT_STR] = "x", [OPT_PATH] = "/x", [OPT_STRS] = "x",      [OPT_WORDS] = "x",
		[OPT_U64] = "1", [OPT_SIZE] = "6M", [OPT_DURATION] = "1s", [OPT_OCTAL] = "0",
		[OPT_INT] = "1", [OPT_LIMIT] = "1", [OPT_BOOL] = "true",
	};

	(void)state;
	for (size_t v = 0; v < cli_n_verbs; v++) {
		const struct cli_verb *w = &cli_verbs[v];

		for (size_t i = 0; i < w->opts.n; i++) {
			const struct opt *o = &w->opts.rows[i];
			const char *value = o->type == OPT_ENUM ? o->values[0] : values[o->type];
			scoped_cli c = { 0 };
			scoped_str line = { 0 };
			struct err e = { 0 };
			int r;

			str_addf(&line, "%s%s --%s%s%s", w->name,
				 str_starts(o->help, "of an image: ") ? " --image i" : "", o->name,
				 value ? "=" : "", value ? value : "");
			str_add(&line, w->id ? " id" : "");
			str_add(&line, strcmp(w->name, "exec") == 0 ? " true" : "");
			r = parse(&c, line.p, &e);
			if (r != (w->unsupported || o->offset == OPT_REFUSED ? -EOPNOTSUPP : 0))
				fail_msg("%s: %d %s", line.p, r, e.msg);
		}
	}
}

/* --- what callers send (oci-contract: observed calls) --- */

static void calls_of_engines_are_understood(void **state)
{
	static const struct {
		const char *line, *verb, *id;
	} calls[] = {
		{ "--root /run/containerd/runc/default --log /b/log.json --log-format json create --bundle "
		  "/b --pid-file "
		  "/b/init.pid ctr1",
		  "create", "ctr1" },
		{ "--root /r --log l --log-format json create --bundle /b --no-pivot --no-new-keyring "
		  "--console-socket /s --pid-file p --preserve-fds 0 id",
		  "create", "id" },
		{ "--root /r --log l --log-format json --systemd-cgroup start id", "start", "id" },
		{ "--root /r kill --all id 9", "kill", "id" },
		{ "--root /r kill id 15", "kill", "id" },
		{ "--root /r --log /l --log-format json delete --force id", "delete", "id" },
		{ "--log-format=json --log /l create --bundle /b --pid-file /p id", "create", "id" },
		{ "--cgroup-manager disabled create --bundle /b --pid-file /p id", "create", "id" },
		{ "exec --process /p.json --detach --pid-file /p --console-socket=/s id", "exec", "id" },
		{ "exec --pid-file /p --process /p.json --tty --detach id", "exec", "id" },
		{ "--root=/run/runc exec --process /p id", "exec", "id" },
		{ "update --resources=- id", "update", "id" },
		{ "update --resources - id", "update", "id" },
		{ "ps --format json id", "ps", "id" },
		{ "events --interval=2s id", "events", "id" },
		{ "events --stats id", "events", "id" },
		{ "run -no-subreaper --detach --bundle /b -f /c.json id", "run", "id" },
		{ "list --format=json -q", "list", NULL },
		{ "--rootless=false --debug state id", "state", "id" },
		{ "spec --rootless --bundle .", "spec", NULL },
		{ "features", "features", NULL },
		{ "check --format json", "check", NULL },
		{ "create id --bundle /b", "create", "id" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
		scoped_cli c = { 0 };
		struct err e = { 0 };

		if (parse(&c, calls[i].line, &e) < 0)
			fail_msg("%s: %s", calls[i].line, e.msg);
		assert_string_equal(c.verb->name, calls[i].verb);
		if (calls[i].id)
			assert_string_equal(c.id, calls[i].id);
		else
			assert_null(c.id);
	}
}

static void values_arrive(void **state)
{
	scoped_cli c = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(
		parse(&c,
		      "--root /r --log-format json --cgroup-manager systemd --set a=b --set c=d exec -e A=1 "
		      "--env B=2 -u 1000:100 -g 5 -g 6 -c CAP_X --cwd /w -dt --preserve-fds 3 id ls -l --tty",
		      &e),
		0);
	assert_string_equal(c.global.root, "/r");
	assert_int_equal(c.global.log_format, 1);
	assert_int_equal(c.global.cgroup_manager, CLI_CGROUPS_SYSTEMD);
	assert_int_equal(c.global.set.n, 2);
	assert_int_equal(c.exec.env.n, 2);
	assert_string_equal(c.exec.env.p[1], "B=2");
	assert_string_equal(c.exec.user, "1000:100");
	assert_int_equal(c.exec.additional_gids.n, 2);
	assert_true(c.exec.detach && c.exec.tty && c.exec.preserve_fds == 3);
	assert_int_equal(c.args.n, 3);
	assert_string_equal(c.args.p[2], "--tty");
	cli_fini(&c);

	assert_int_equal(parse(&c, "exec id -- ls", &e), 0);
	assert_int_equal(c.args.n, 1);
	cli_fini(&c);
	assert_int_equal(parse(&c, "kill id", &e), 0);
	assert_int_equal(c.kill_signal, 15);
	cli_fini(&c);
	assert_int_equal(parse(&c, "kill id SIGKILL", &e), 0);
	assert_int_equal(c.kill_signal, 9);
	cli_fini(&c);
	assert_int_equal(parse(&c, "events --interval 100ms id", &e), 0);
	assert_int_equal(c.events_interval_ns, 100000000);
	cli_fini(&c);
	assert_int_equal(parse(&c, "ps id -e -f", &e), 0);
	assert_int_equal(c.args.n, 2);
}

/* run: of a bundle options stand where they like, of an image they end at the command. */
static void run_has_two_grammars(void **state)
{
	static const struct {
		const char *line, *id, *image;
		size_t args;
		const char *last;
	} rows[] = {
		{ "run id --bundle /b", "id", NULL, 0, NULL },
		{ "run --image i", NULL, "i", 0, NULL },
		{ "run --image i ls", NULL, "i", 1, "ls" },
		{ "run -d --image=i --name a.b -t ls -l --tty", "a.b", "i", 3, "--tty" },
		{ "run --image i -- -x", NULL, "i", 1, "-x" },
		{ "run --image i sh -c -- --", NULL, "i", 4, "--" },
		{ "run --image i -e A=1 -eB=2 -m 64M -u a:b -w /w -v /s:/d --cpus 1.5 -- ls --image j", NULL,
		  "i", 3, "j" },
		{ "run --image i -- run --bundle /b", NULL, "i", 3, "/b" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_cli c = { 0 };
		struct err e = { 0 };

		if (parse(&c, rows[i].line, &e) < 0)
			fail_msg("%s: %s", rows[i].line, e.msg);
		assert_true(str_eq(c.id, rows[i].id));
		assert_true(str_eq(c.image.name, rows[i].image));
		assert_int_equal(c.args.n, rows[i].args);
		if (rows[i].last)
			assert_string_equal(c.args.p[c.args.n - 1], rows[i].last);
	}
}

static void update_flags_become_json(void **state)
{
	static const char *const cases[][2] = {
		{ "update id", "{}" },
		{ "update --memory 1G id", "{\"memory\":{\"limit\":1073741824}}" },
		{ "update --memory-swap -1 --pids-limit -1 id",
		  "{\"memory\":{\"swap\":-1},\"pids\":{\"limit\":-1}}" },
		{ "update --cpu-share 2 --cpu-quota -1 --cpu-period 3 --cpuset-cpus 0-1 --cpuset-mems 0 id",
		  "{\"cpu\":{\"shares\":2,\"quota\":-1,\"period\":3,\"cpus\":\"0-1\",\"mems\":\"0\"}}" },
		{ "update --blkio-weight 10 --cpu-idle 0 id",
		  "{\"cpu\":{\"idle\":0},\"blockIO\":{\"weight\":10}}" },
		{ "update --memory-reservation 4096 --cpu-burst 1 --cpu-rt-period 2 --cpu-rt-runtime 3 "
		  "--kernel-memory 1 id",
		  "{\"memory\":{\"reservation\":4096},\"cpu\":{\"burst\":1,\"realtimePeriod\":2,"
		  "\"realtimeRuntime\":3}}" },
		{ "update --cpuset-cpus \" id", "{\"cpu\":{\"cpus\":\"\\\"\"}}" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		scoped_cli c = { 0 };
		scoped_str s = { 0 };
		struct err e;

		assert_int_equal(parse(&c, cases[i][0], &e), 0);
		cli_update_json(&s, &c.update);
		assert_string_equal(s.p, cases[i][1]);
	}
}

/* --- wrong lines --- */

static void wrong_lines_fail_with_a_reason(void **state)
{
	static const struct {
		const char *line;
		int code;
		const char *says;
	} cases[] = {
		{ "strat id", 3, "unknown command \"strat\", did you mean \"start\"?" },
		{ "zzzzzzzzzz", 3, "\"cor --help\" lists the commands" },
		{ "--rot /x list", 1, "unknown option \"--rot\", did you mean \"--root\"?" },
		{ "--root", 1, "option --root requires an argument" },
		{ "create", 1, "create: the container's ID is missing; usage: cor create [OPTION]... ID" },
		{ "create a b", 1, "create: too many arguments" },
		{ "create a/b", 1, "invalid container ID \"a/b\"" },
		{ "create ..", 1, "invalid container ID" },
		{ "create --bundle", 1, "option --bundle requires an argument" },
		{ "create --debug id", 1,
		  "option --debug stands before the command: cor --debug ... create" },
		{ "create --preserve-fds x id", 1, "--preserve-fds: \"x\" can't be used" },
		{ "run --image", 1, "option --image requires an argument" },
		{ "run --image i --name a/b ls", 1, "invalid container ID \"a/b\"" },
		{ "run --image i --bundle /b", 1, "run: --image and --bundle exclude each other" },
		{ "run --image i -f x", 1, "run: --image and --config exclude each other" },
		{ "run --name a id", 1, "run: --name goes with --image NAME" },
		{ "run -t id", 1, "run: --tty goes with --image NAME" },
		{ "run id -e A=1", 1, "run: --env goes with --image NAME" },
		{ "run id --image i", 1, "run: with --image the command stands behind all options" },
		{ "create --image i id", 1, "unknown option \"--image\"" },
		{ "run --image i -m 0", 1, "--memory: \"0\" is out of range" },
		{ "run --image i --memory 5", 1, "2G, at least 6M" },
		{ "run --image i -m 6291455", 1, "2G, at least 6M" },
		{ "kill id FOO", 1, "unknown signal \"FOO\"" },
		{ "kill id 9 9", 1, "too many arguments" },
		{ "exec id", 255, "give a command after the ID" },
		{ "exec -it id sh", 255, "unknown option \"-i\" in \"-it\"" },
		{ "exec", 255, "ID is missing" },
		{ "exec --process-label l id ls", 255,
		  "--process-label is refused: the guest has no SELinux" },
		{ "update --l3-cache-schema L3:0=f id", 1, "--l3-cache-schema is refused: Intel RDT" },
		{ "list id", 1, "too many arguments" },
		{ "list --format yaml", 1, "give table or json" },
		{ "checkpoint --help", 1, "checkpoint is not supported" },
		{ "checkpoint id", 1, "checkpoint is not supported" },
		{ "restore --lsm-mount-context", 1, "requires an argument" },
		{ "restore --image-path /x id", 1, "restore is not supported" },
		{ "help strat", 1, "did you mean \"start\"" },
		{ "--set vm.memroy=1G run id", 1, "did you mean \"vm.memory\"?" },
		{ "--settings /nonexistent/file run id", 1, "settings file /nonexistent/file: No such file" },
		{ "--log /nonexistent/dir/log list", 1, "option --log: /nonexistent/dir/log: No such file" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct result res = run(cases[i].line);

		if (res.code != cases[i].code)
			fail_msg("%s: exit code %d, expected %d", cases[i].line, res.code, cases[i].code);
		assert_has(res.err, cases[i].says);
		assert_string_equal(res.out, "");
		assert_null(verb.called);
		result_fini(&res);
	}
}

/* --- the program --- */

static void version_and_help_are_printed(void **state)
{
	static const char *const version[] = { "--version", "-v", "version" };
	static const char *const help[][2] = {
		{ "", "Commands:" },
		{ "--help", "Commands:" },
		{ "-h", "Commands:" },
		{ "help", "Commands:" },
		{ "help run", "--no-subreaper" },
		{ "run --help", "--no-subreaper" },
		{ "run -h x y", "Usage: cor run" },
		{ "--help run", "Commands:" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(version); i++) {
		struct result res = run(version[i]);

		assert_int_equal(res.code, 0);
		assert_int_equal(strncmp(res.out, "cor version ", 12), 0);
		assert_has(res.out, "\ncommit: abc123\nspec: 1.");
		result_fini(&res);
	}
	for (size_t i = 0; i < ARRAY_LEN(help); i++) {
		struct result res = run(help[i][0]);

		assert_int_equal(res.code, 0);
		assert_has(res.out, help[i][1]);
		assert_string_equal(res.err, "");
		result_fini(&res);
	}
}

static void help_names_every_option(void **state)
{
	scoped_str all = { 0 };

	(void)state;
	cli_usage(&all, NULL);
	for (size_t v = 0; v < cli_n_verbs; v++) {
		scoped_str s = { 0 };

		cli_usage(&s, &cli_verbs[v]);
		assert_has(all.p, cli_verbs[v].name);
		for (size_t i = 0; i < cli_verbs[v].opts.n; i++)
			assert_has(s.p, cli_verbs[v].opts.rows[i].name);
	}
}

static void verbs_run_and_their_codes_count(void **state)
{
	static const struct {
		const char *line;
		int returns, code;
	} cases[] = {
		{ "run -b /bundle id", 0, 0 },       { "run -b /bundle id", 17, 17 },
		{ "run -b /bundle id", -ENOENT, 1 }, { "exec id ls", -ENOENT, 255 },
		{ "exec id ls", 137, 137 },          { "state id", -ENOENT, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct result res;

		verb.returns = cases[i].returns;
		res = run(cases[i].line);
		assert_non_null(verb.called);
		assert_int_equal(res.code, cases[i].code);
		assert_string_equal(verb.id, "id");
		if (cases[i].returns < 0)
			assert_has(res.err, " failed\n");
		else
			assert_string_equal(res.err, "");
		result_fini(&res);
	}
	verb.returns = 0;
}

static void settings_are_loaded_where_needed(void **state)
{
	scoped_free char *conf = str_fmt("%s/cor.conf", dir);
	scoped_free char *with = str_fmt("--settings %s create id", conf);
	scoped_free char *over = str_fmt("--settings %s --set vm.memory=1G create id", conf);
	scoped_free char *kill = str_fmt("--settings %s kill id 9", conf);
	struct result res;

	(void)state;
	assert_int_equal(io_replace_file_at(AT_FDCWD, conf, "vm.memory = 256M\n", 17, 0600), 0);
	res = run("create id");
	assert_int_equal(verb.memory, 512u << 20);
	result_fini(&res);
	res = run(with);
	assert_int_equal(verb.memory, 256u << 20);
	result_fini(&res);
	res = run(over);
	assert_int_equal(verb.memory, 1u << 30);
	result_fini(&res);
	/* a broken file must not keep anybody from ending a container */
	assert_int_equal(io_replace_file_at(AT_FDCWD, conf, "nonsense\n", 9, 0600), 0);
	res = run(with);
	assert_int_equal(res.code, 1);
	assert_has(res.err, "cor.conf:1: expected \"key = value\"");
	result_fini(&res);
	res = run(kill);
	assert_int_equal(res.code, 0);
	assert_int_equal(verb.signal, 9);
	result_fini(&res);
}

static void errors_end_the_log(void **state)
{
	scoped_free char *json = str_fmt("--log %s/log --log-format json exec id ls", dir);
	scoped_free char *bad = str_fmt("--log %s/log --log-format json kill id FOO", dir);
	scoped_free char *text = str_fmt("--log %s/text start id", dir);
	scoped_free char *log = NULL;
	scoped_free char *plain = NULL;
	struct result res;

	(void)state;
	verb.returns = -ENOENT;
	res = run(json);
	assert_int_equal(res.code, 255);
	assert_has(res.err, "cor: exec failed\n");
	result_fini(&res);
	res = run(bad);
	result_fini(&res);
	res = run(text);
	result_fini(&res);
	verb.returns = 0;
	log = slurp("log");
	assert_has(log, "{\"level\":\"error\",\"msg\":\"exec failed\",\"time\":\"20");
	assert_has(log, "{\"level\":\"error\",\"msg\":\"kill: unknown signal \\\"FOO\\\"");
	plain = slurp("text");
	assert_has(plain, "level=error msg=\"start failed\"");
}

static void log_level_follows_options_and_settings(void **state)
{
	static const struct {
		const char *options;
		enum log_level level;
	} cases[] = {
		{ "", LOG_LVL_WARN },
		{ "--debug", LOG_LVL_DEBUG },
		{ "--log /dev/null", LOG_LVL_INFO },
		{ "--set log.level=error", LOG_LVL_ERROR },
		{ "--log /dev/null --set log.level=debug", LOG_LVL_DEBUG },
		{ "--debug --set log.level=error", LOG_LVL_DEBUG },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		scoped_free char *line = str_fmt("%s create id", cases[i].options);
		struct result res = run(line);

		assert_int_equal(res.code, 0);
		assert_int_equal(verb.level, cases[i].level);
		result_fini(&res);
	}
}

static void root_follows_the_user(void **state)
{
	scoped_cli c = { 0 };
	struct err e;

	(void)state;
	assert_int_equal(parse(&c, "list", &e), 0);
	if (geteuid() == 0)
		assert_string_equal(c.global.root, "/run/cor");
	else
		assert_non_null(strstr(c.global.root, "/cor"));
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return io_remove_tree_at(AT_FDCWD, dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_sound),
		cmocka_unit_test(every_option_is_accepted),
		cmocka_unit_test(calls_of_engines_are_understood),
		cmocka_unit_test(values_arrive),
		cmocka_unit_test(run_has_two_grammars),
		cmocka_unit_test(update_flags_become_json),
		cmocka_unit_test(wrong_lines_fail_with_a_reason),
		cmocka_unit_test(version_and_help_are_printed),
		cmocka_unit_test(help_names_every_option),
		cmocka_unit_test(verbs_run_and_their_codes_count),
		cmocka_unit_test(settings_are_loaded_where_needed),
		cmocka_unit_test(errors_end_the_log),
		cmocka_unit_test(log_level_follows_options_and_settings),
		cmocka_unit_test(root_follows_the_user),
	};

	return cmocka_run_group_tests_name("runtime/cli", tests, make_dir, remove_dir);
}
