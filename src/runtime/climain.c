/* climain.c - the program `cor` from its first instruction to its exit code.
 *
 * Called by main(). Sets up stdio, the log and the settings, runs one verb and reports its error: on
 * stderr, and as the log's last line of level error, which is what callers show to their users. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "runtime/cli.h"
#include "runtime/clipriv.h"

/* Closed standard descriptors would be taken by the next open(); /dev/null holds their places. */
static int hold_stdio(struct err *e)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		if (open("/dev/null", O_RDWR | O_NOCTTY) != fd) /* not O_CLOEXEC: children need it too */
			return err_set(e, -errno, "/dev/null: %m");
	}
	return 0;
}

/* Opens --log; the fd stays open until the program ends. */
static int open_log(const struct cli *c, int *ret_fd, struct err *e)
{
	int fd;

	if (!c->global.log)
		return 0;
	fd = open(c->global.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
	if (fd < 0)
		return err_set(e, -errno, "option --log: %s: %m", c->global.log);
	log_to_fd(fd, c->global.log_format == 1, true);
	*ret_fd = fd;
	return 0;
}

static void set_log_level(const struct cli *c)
{
	int chosen = c->settings.log_level;
	enum log_level level = c->global.log ? LOG_LVL_INFO : LOG_LVL_WARN;

	if (c->global.debug)
		level = LOG_LVL_DEBUG;
	else if (chosen > 0)
		level = (enum log_level)(chosen - 1);
	log_setup("cor", level);
}

static int load_settings(struct cli *c, struct err *e)
{
	const char *path = c->global.settings;
	scoped_free char *host = NULL;
	int r = settings_init(&c->settings, c->env->osdir, e);

	if (r < 0)
		return r;
	host = str_fmt("%s/" SETTINGS_FILE, c->env->confdir);
	if (!host)
		return err_set(e, -ENOMEM, "settings: %m");
	r = settings_load(&c->settings, path ? path : host, path != NULL, e);
	for (size_t i = 0; r == 0 && i < c->global.set.n; i++)
		r = settings_set_arg(&c->settings, c->global.set.p[i], e);
	return r;
}

static int dispatch(struct cli *c, struct err *e)
{
	scoped_str s = { 0 };
	int r;

	if (c->global.version && !c->global.help) {
		cli_version(&s, c->env);
		return cli_print(&s, e);
	}
	if (!c->verb || c->help || c->global.help) {
		cli_usage(&s, c->help ? c->verb : NULL);
		return cli_print(&s, e);
	}
	if (c->verb->settings) {
		r = load_settings(c, e);
		if (r < 0)
			return r;
		set_log_level(c);
	}
	return c->verb->run(c, e);
}

static int fail_code(const struct cli *c)
{
	if (c->unknown_verb)
		return CLI_EXIT_UNKNOWN_VERB;
	return c->verb ? c->verb->fail_code : 1;
}

int cli_main(int argc, char *const *argv, const struct cli_env *env)
{
	scoped_cli c = { 0 };
	scoped_fd log_fd = -1;
	struct err e = { 0 };
	int r, opened;

	log_setup("cor", LOG_LVL_WARN);
	if (hold_stdio(&e) < 0)
		return 1;
	r = cli_parse(&c, env, argc > 0 ? argc - 1 : 0, argc > 0 ? argv + 1 : argv, &e);
	set_log_level(&c);
	opened = open_log(&c, &log_fd, r < 0 ? NULL : &e);
	if (r == 0 && opened < 0)
		r = opened;
	if (r == 0)
		r = dispatch(&c, &e);
	if (r < 0) {
		log_error("%s", e.msg[0] ? e.msg : "unknown error");
		r = fail_code(&c);
	}
	log_to_fd(-1, false, false);
	return r;
}
