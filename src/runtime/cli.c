/* cli.c - parsing of the whole command line, and the texts made from its tables.
 *
 * Called by climain.c, the documentation generator and the tests. Trusts nothing on the command line
 * beyond its own checks: container IDs become file names and are checked here, once, for all verbs.
 * Never: opens a file or changes the process. */
#include "runtime/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "cfg/signame.h"
#include "runtime/clipriv.h"

#define SPEC_VERSION   "1.3.0"
#define EVERY_5_S      5000000000ull
#define VERBS_MAX      64
#define COLUMN_SUMMARY 14

const struct cli_verb *cli_find_verb(const char *name)
{
	for (size_t i = 0; i < cli_n_verbs; i++)
		if (strcmp(cli_verbs[i].name, name) == 0)
			return &cli_verbs[i];
	return NULL;
}

int cli_unknown_verb(const char *name, struct err *e)
{
	struct opt rows[VERBS_MAX] = { { 0 } };
	struct opt_table t = { rows, cli_n_verbs < VERBS_MAX ? cli_n_verbs : VERBS_MAX };
	const struct opt *near;
	scoped_str s = { 0 };

	for (size_t i = 0; i < t.n; i++)
		rows[i].name = cli_verbs[i].name;
	near = opt_nearest(&t, name);
	str_add(&s, "unknown command ");
	opt_add_quoted(&s, name);
	if (near)
		str_addf(&s, ", did you mean \"%s\"?", near->name);
	else
		str_add(&s, "; \"cor --help\" lists the commands");
	return err_set(e, -EINVAL, "%s", s.p ? s.p : "unknown command");
}

/* The state directory when --root is absent: the system's for root, else the session's. */
static const char *default_root(struct cli *c)
{
	const char *session = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0 || !session || *session != '/')
		return "/run/cor";
	return arena_fmt(&c->mem, "%s/cor", session);
}

static int check_count(const struct cli_verb *v, size_t n, struct err *e)
{
	if (n < v->min)
		return err_set(e, -EINVAL, "%s: %s is missing; usage: cor %s %s", v->name,
			       n == 0 && v->id ? "the container's ID" : "an argument", v->name, v->usage);
	if (n > v->max)
		return err_set(e, -EINVAL, "%s: too many arguments; usage: cor %s %s", v->name, v->name,
			       v->usage);
	return 0;
}

static int check_id(const char *id, struct err *e)
{
	scoped_str s = { 0 };

	if (!id || str_is_id(id))
		return 0;
	opt_add_quoted(&s, id);
	return err_set(
		e, -EINVAL,
		"invalid container ID %s: use 1 to 1024 letters, digits and _ + - . (not . or .. alone)",
		s.p ? s.p : "");
}

static int take_id(struct cli *c, struct err *e)
{
	if (!c->verb->id || !c->args.n)
		return 0;
	c->id = c->args.p[0];
	c->args.p++;
	c->args.n--;
	return check_id(c->id, e);
}

/* The first option that is for images alone, or NULL. */
static const char *image_option(const struct cli_image *i)
{
	const struct {
		bool given;
		const char *name;
	} all[] = {
		{ i->id, "name" },
		{ i->entrypoint, "entrypoint" },
		{ i->user, "user" },
		{ i->workdir, "workdir" },
		{ i->cpus, "cpus" },
		{ i->env.n > 0, "env" },
		{ i->volume.n > 0, "volume" },
		{ i->memory, "memory" },
		{ i->tty, "tty" },
		{ i->read_only, "read-only" },
	};

	for (size_t k = 0; k < ARRAY_LEN(all); k++)
		if (all[k].given)
			return all[k].name;
	return NULL;
}

/* `run`: of a bundle or of an image? */
static int check_image(const struct cli *c, const struct opt_args *a, struct err *e)
{
	const char *option = image_option(&c->image);

	if (c->image.name && a->among > 0)
		return err_set(
			e, -EINVAL,
			"run: with --image the command stands behind all options, and the container's ID "
			"is given by --name");
	if (c->image.name && (c->create.bundle || c->create.config))
		return err_set(e, -EINVAL,
			       "run: --image and --%s exclude each other: an image is run without a bundle",
			       c->create.bundle ? "bundle" : "config");
	if (!c->image.name && option)
		return err_set(
			e, -EINVAL,
			"run: --%s goes with --image NAME; of a bundle it is config.json that says this",
			option);
	return 0;
}

/* What tables can't say about two verbs. */
static int finish_verb(struct cli *c, struct err *e)
{
	if (c->verb->until == 1 && c->args.n && strcmp(c->args.p[0], "--") == 0) {
		c->args.p++;
		c->args.n--;
	}
	if (strcmp(c->verb->name, "exec") == 0 && !c->args.n && !c->exec.process)
		return err_set(e, -EINVAL, "exec: give a command after the ID, or --process FILE");
	if (strcmp(c->verb->name, "kill") == 0 && c->args.n &&
	    signame_parse(c->args.p[0], &c->kill_signal) < 0) {
		scoped_str s = { 0 };

		opt_add_quoted(&s, c->args.p[0]);
		return err_set(e, -EINVAL,
			       "kill: unknown signal %s: give a name such as TERM or a number up to 64",
			       s.p ? s.p : "");
	}
	return 0;
}

static int parse_verb(struct cli *c, int argc, char *const *argv, struct err *e)
{
	struct opt_target t = { c->verb->opts, c, &c->mem, OPT_FROM_CLI, NULL, "--" };
	const char *const *ends = (const char *const *)(const void *)((const char *)c + c->verb->ends);
	struct opt_args a = {
		.argc = argc, .argv = argv, .until = c->verb->until, .ends = c->verb->ends ? ends : NULL
	};
	int r = opt_parse_args(&t, &a, e);

	if (r < 0 && a.unknown && opt_find(&cli_global_opts, a.unknown))
		return err_set(e, r, "%s: option --%s stands before the command: cor --%s ... %s",
			       c->verb->name, a.unknown, a.unknown, c->verb->name);
	if (r < 0) {
		(void)err_wrap(e, "%s", c->verb->name);
		return r;
	}
	if (c->verb->unsupported)
		return err_set(e, -EOPNOTSUPP, "%s is not supported: %s", c->verb->name,
			       c->verb->unsupported);
	if (c->help)
		return 0;
	r = check_image(c, &a, e);
	c->args = a.pos;
	if (r == 0 && c->image.name) {
		c->id = c->image.id;
		return check_id(c->id, e);
	}
	if (r < 0)
		return r;
	r = check_count(c->verb, a.pos.n, e);
	if (r < 0)
		return r;
	if (c->json)
		c->format = CLI_JSON;
	r = take_id(c, e);
	return r < 0 ? r : finish_verb(c, e);
}

int cli_parse(struct cli *c, const struct cli_env *env, int argc, char *const *argv, struct err *e)
{
	struct opt_target t = { cli_global_opts, c, &c->mem, OPT_FROM_CLI, NULL, "--" };
	struct opt_args a = { .argc = argc, .argv = argv, .until = 0 };
	int r;

	*c = (struct cli){
		.env = env, .spec_bundle = ".", .kill_signal = SIGTERM, .events_interval_ns = EVERY_5_S
	};
	r = opt_parse_args(&t, &a, e);
	if (r < 0)
		return r;
	if (!c->global.root)
		c->global.root = default_root(c);
	if (!c->global.root)
		return err_set(e, -ENOMEM, "command line: %m");
	if (a.used == argc || c->global.help || c->global.version)
		return 0;
	c->verb = cli_find_verb(argv[a.used]);
	if (!c->verb) {
		c->unknown_verb = true;
		return cli_unknown_verb(argv[a.used], e);
	}
	return parse_verb(c, argc - a.used - 1, argv + a.used + 1, e);
}

void cli_fini(struct cli *c)
{
	settings_fini(&c->settings);
	arena_fini(&c->mem);
	*c = (struct cli){ 0 };
}

int cli_print(const struct str *text, struct err *e)
{
	int r = str_check(text);

	if (r == 0 && text->len)
		r = io_write_full(STDOUT_FILENO, text->p, text->len);
	return r < 0 ? err_set(e, r, "standard output: %m") : 0;
}

static void usage_program(struct str *to)
{
	str_add(to, "Usage: cor [OPTION]... COMMAND [ARG]...\n"
		    "Runs OCI containers, each in a virtual machine of its own.\n\nCommands:\n");
	for (size_t i = 0; i < cli_n_verbs; i++)
		str_addf(to, "  %-*s%s\n", COLUMN_SUMMARY, cli_verbs[i].name, cli_verbs[i].summary);
	str_add(to, "\nOptions:\n");
	opt_help(to, &cli_global_opts);
	str_add(to, "\n\"cor COMMAND --help\" explains a command; see also cor(1) and cor.conf(5).\n");
}

void cli_usage(struct str *to, const struct cli_verb *v)
{
	if (!v) {
		usage_program(to);
		return;
	}
	str_addf(to, "Usage: cor %s%s%s\n%c%s.\n\nOptions:\n", v->name, *v->usage ? " " : "", v->usage,
		 v->summary[0] - 'a' + 'A', v->summary + 1);
	opt_help(to, &v->opts);
}

void cli_version(struct str *to, const struct cli_env *env)
{
	str_addf(to, "cor version %s\ncommit: %s\nspec: %s\n", COR_VERSION, env->commit, SPEC_VERSION);
}

/* update's flags and their places in a LinuxResources object. Rows of one group stand together. */
static const struct {
	const char *group, *key;
	size_t offset;
	bool text;
} update_fields[] = {
	{ "memory", "limit", offsetof(struct cli_update, memory), false },
	{ "memory", "swap", offsetof(struct cli_update, memory_swap), false },
	{ "memory", "reservation", offsetof(struct cli_update, memory_reservation), false },
	{ "cpu", "shares", offsetof(struct cli_update, cpu_shares), false },
	{ "cpu", "quota", offsetof(struct cli_update, cpu_quota), false },
	{ "cpu", "period", offsetof(struct cli_update, cpu_period), false },
	{ "cpu", "burst", offsetof(struct cli_update, cpu_burst), false },
	{ "cpu", "idle", offsetof(struct cli_update, cpu_idle), false },
	{ "cpu", "realtimePeriod", offsetof(struct cli_update, cpu_rt_period), false },
	{ "cpu", "realtimeRuntime", offsetof(struct cli_update, cpu_rt_runtime), false },
	{ "cpu", "cpus", offsetof(struct cli_update, cpus), true },
	{ "cpu", "mems", offsetof(struct cli_update, mems), true },
	{ "pids", "limit", offsetof(struct cli_update, pids_limit), false },
	{ "blockIO", "weight", offsetof(struct cli_update, blkio_weight), false },
};

static bool has_update_field(const struct cli_update *u, size_t i)
{
	const void *field = (const char *)u + update_fields[i].offset;

	if (update_fields[i].text)
		return *(const char *const *)field != NULL;
	return ((const struct opt_int *)field)->set;
}

static void add_update_field(struct str *to, const struct cli_update *u, size_t i)
{
	const void *field = (const char *)u + update_fields[i].offset;

	str_addf(to, "\"%s\":", update_fields[i].key);
	if (update_fields[i].text)
		opt_add_json_str(to, *(const char *const *)field);
	else
		str_addf(to, "%lld", (long long)((const struct opt_int *)field)->v);
}

void cli_update_json(struct str *to, const struct cli_update *u)
{
	const char *open = NULL;

	str_addc(to, '{');
	for (size_t i = 0; i < ARRAY_LEN(update_fields); i++) {
		const char *group = update_fields[i].group;

		if (!has_update_field(u, i))
			continue;
		if (str_eq(open, group))
			str_addc(to, ',');
		else
			str_addf(to, "%s\"%s\":{", open ? "}," : "", group);
		open = group;
		add_update_field(to, u, i);
	}
	str_add(to, open ? "}}" : "}");
}
