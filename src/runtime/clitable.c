/* clitable.c - the tables of the command line: global options, verbs and their options.
 *
 * Read by cli.c, the documentation generator and the tests. Rows name struct cli's fields; what runc
 * or crun take and a VM has no use for goes OPT_NOWHERE, and the help says why. */
#include "runtime/cli.h"
#include "runtime/clipriv.h"
#include "runtime/verbs.h"

#define AT(field)  offsetof(struct cli, field)
#define ALL_ARGS   SIZE_MAX
#define REFUSED    "refused: "
#define IGNORED    "accepted and ignored: "
#define FD_MAX     1024
#define NS_PER_SEC 1000000000ull

/* Rows by type: name, short name, field, (argument name or values,) help. */
#define FLAG(name, c, at, help)                                                                              \
	{                                                                                                    \
		name, c, OPT_FLAG, OPT_FROM_CLI, at, 0, 0, NULL, NULL, help                                  \
	}
#define TEXT(name, c, at, arg, help)                                                                         \
	{                                                                                                    \
		name, c, OPT_STR, OPT_FROM_CLI, at, 0, 0, NULL, arg, help                                    \
	}
#define LIST(name, c, at, arg, help)                                                                         \
	{                                                                                                    \
		name, c, OPT_STRS, OPT_FROM_CLI, at, 0, 0, NULL, arg, help                                   \
	}
#define CHOICE(name, c, at, values, help)                                                                    \
	{                                                                                                    \
		name, c, OPT_ENUM, OPT_FROM_CLI, at, 0, 0, values, NULL, help                                \
	}
#define COUNT(name, c, at, max, help)                                                                        \
	{                                                                                                    \
		name, c, OPT_U64, OPT_FROM_CLI, at, 0, max, NULL, NULL, help                                 \
	}
#define IMAGE_MEMORY_MIN (6 << 20) /* less is a forgotten unit; Docker asks for as much */
#define SIZE(name, c, at, min, help)                                                                         \
	{                                                                                                    \
		name, c, OPT_SIZE, OPT_FROM_CLI, at, min, 0, NULL, NULL, help                                \
	}
#define NUMBER(name, at, help)                                                                               \
	{                                                                                                    \
		name, 0, OPT_INT, OPT_FROM_CLI, at, INT64_MIN, 0, NULL, NULL, help                           \
	}
#define LIMIT(name, at, help)                                                                                \
	{                                                                                                    \
		name, 0, OPT_LIMIT, OPT_FROM_CLI, at, 0, 0, NULL, NULL, help                                 \
	}
#define HELP FLAG("help", 'h', AT(help), "show this text")

static const char *const log_formats[] = { "text", "json", NULL };
static const char *const rootless[] = { "auto", "true", "false", NULL };
static const char *const cgroup_managers[] = { "cgroupfs", "systemd", "disabled", NULL };
static const char *const formats[] = { "table", "json", NULL };
static const char *const check_formats[] = { "text", "json", NULL };

static const struct opt global_rows[] = {
	TEXT("root", 0, AT(global.root), "DIR",
	     "directory for the state of all containers (default /run/cor)"),
	TEXT("log", 0, AT(global.log), "FILE", "append messages to FILE; errors go to stderr too"),
	CHOICE("log-format", 0, AT(global.log_format), log_formats, "format of the log file"),
	FLAG("debug", 0, AT(global.debug), "log debug messages"),
	FLAG("systemd-cgroup", 0, AT(global.systemd_cgroup), "cgroupsPath has the form slice:prefix:name"),
	CHOICE("cgroup-manager", 0, AT(global.cgroup_manager), cgroup_managers,
	       "who makes the host's cgroups; disabled makes none"),
	CHOICE("rootless", 0, OPT_NOWHERE, rootless, IGNORED "the caller's user decides"),
	TEXT("criu", 0, OPT_NOWHERE, "FILE", IGNORED "checkpoints are not supported"),
	TEXT("settings", 0, AT(global.settings), "FILE", "read this file instead of the host's cor.conf"),
	LIST("set", 0, AT(global.set), "KEY=VALUE",
	     "set a key of cor.conf for this command; see cor.conf(5)"),
	FLAG("version", 'v', AT(global.version), "print the version"),
	FLAG("help", 'h', AT(global.help), "show this text"),
};

#define CREATE_ROWS                                                                                          \
	TEXT("bundle", 'b', AT(create.bundle), "DIR", "the bundle's directory (default: the current one)"),  \
		TEXT("config", 'f', AT(create.config), "FILE",                                               \
		     "read FILE of the bundle instead of config.json"),                                      \
		TEXT("console-socket", 0, AT(create.console_socket), "SOCKET",                               \
		     "unix socket that receives the terminal's master"),                                     \
		TEXT("pid-file", 0, AT(create.pid_file), "FILE",                                             \
		     "write the container's process ID to FILE"),                                            \
		TEXT("pidfd-socket", 0, AT(create.pidfd_socket), "SOCKET",                                   \
		     "unix socket that receives a pidfd of the container's process"),                        \
		COUNT("preserve-fds", 0, AT(create.preserve_fds), FD_MAX,                                    \
		      "descriptors to hand over; only 0 is possible across a VM's border"),                  \
		FLAG("no-pivot", 0, OPT_NOWHERE, IGNORED "the guest has its own root file system"),          \
		FLAG("no-new-keyring", 0, OPT_NOWHERE, IGNORED "the guest has keyrings of its own"),         \
		FLAG("no-subreaper", 0, OPT_NOWHERE, IGNORED "no process here is a subreaper")

#define TIMING_ROWS                                                                                          \
	FLAG("timing", 0, AT(create.timing), "print where the time of the start went, on stderr"),           \
		TEXT("timing-json", 0, AT(create.timing_json), "FILE", "write the same to FILE as JSON")

static const struct opt help_rows[] = { HELP };

static const struct opt create_rows[] = { CREATE_ROWS, TIMING_ROWS, HELP };

static const struct opt run_rows[] = {
	CREATE_ROWS,
	FLAG("detach", 'd', AT(create.detach), "return when the container runs"),
	FLAG("keep", 0, AT(create.keep), "do not delete the container after its end"),
	TEXT("image", 0, AT(image.name), "NAME",
	     "run this image of the store (see cor-image(1)); what follows the options is the command"),
	TEXT("name", 0, AT(image.id), "ID", "of an image: the container's ID; one is made up without it"),
	FLAG("tty", 't', AT(image.tty), "of an image: give the process a terminal"),
	LIST("env", 'e', AT(image.env), "KEY=VALUE",
	     "of an image: set a variable of the environment; may be repeated"),
	TEXT("user", 'u', AT(image.user), "USER[:GROUP]",
	     "of an image: run as this user, names or numbers, instead of the image's"),
	TEXT("workdir", 'w', AT(image.workdir), "DIR", "of an image: the working directory"),
	TEXT("entrypoint", 0, AT(image.entrypoint), "PROGRAM",
	     "of an image: run this with the command's words, instead of what the image says"),
	LIST("volume", 'v', AT(image.volume), "SOURCE:DIR[:ro]",
	     "of an image: show a file or directory of the host there; may be repeated"),
	FLAG("read-only", 0, AT(image.read_only), "of an image: nothing but volumes can be written"),
	SIZE("memory", 'm', AT(image.memory), IMAGE_MEMORY_MIN, "of an image: memory limit"),
	SIZE("disk", 0, AT(image.disk), 1,
	     "of an image: what is written goes to a sparse disk of this size instead of memory"),
	TEXT("cpus", 0, AT(image.cpus), "NUMBER", "of an image: how many CPUs it may use, such as 1.5"),
	TIMING_ROWS,
	HELP,
};

static const struct opt kill_rows[] = {
	FLAG("all", 'a', AT(kill_all), "signal every process of the container"),
	HELP,
};

static const struct opt delete_rows[] = {
	FLAG("force", 'f', AT(delete_force), "kill the container first; an unknown one is no error"),
	HELP,
};

static const struct opt exec_rows[] = {
	TEXT("process", 'p', AT(exec.process), "FILE",
	     "read the process from FILE (a process object in JSON)"),
	FLAG("detach", 'd', AT(exec.detach), "return when the process runs"),
	TEXT("pid-file", 0, AT(exec.pid_file), "FILE", "write the process ID to FILE"),
	TEXT("console-socket", 0, AT(exec.console_socket), "SOCKET",
	     "unix socket that receives the terminal's master"),
	TEXT("pidfd-socket", 0, AT(exec.pidfd_socket), "SOCKET",
	     "unix socket that receives a pidfd of the process"),
	FLAG("tty", 't', AT(exec.tty), "give the process a terminal"),
	TEXT("cwd", 0, AT(exec.cwd), "DIR", "working directory in the container"),
	LIST("env", 'e', AT(exec.env), "KEY=VALUE", "add to the environment; may be repeated"),
	TEXT("user", 'u', AT(exec.user), "UID[:GID]",
	     "run as this user; in a container of an image also by name"),
	LIST("additional-gids", 'g', AT(exec.additional_gids), "GID", "add a group; may be repeated"),
	LIST("cap", 'c', AT(exec.cap), "CAP", "add a capability; may be repeated"),
	FLAG("no-new-privs", 0, AT(exec.no_new_privs), "the process can't gain privileges"),
	COUNT("preserve-fds", 0, AT(exec.preserve_fds), FD_MAX,
	      "descriptors to hand over; only 0 is possible across a VM's border"),
	TEXT("process-label", 0, OPT_REFUSED, "LABEL", REFUSED "the guest has no SELinux"),
	TEXT("apparmor", 0, OPT_NOWHERE, "PROFILE",
	     IGNORED "the guest has no AppArmor, the VM stands in its place"),
	TEXT("cgroup", 0, AT(exec.cgroup), "PATH", "run in this cgroup below the container's"),
	FLAG("ignore-paused", 0, OPT_NOWHERE, IGNORED "a paused VM runs nothing, so exec fails there"),
	FLAG("no-subreaper", 0, OPT_NOWHERE, IGNORED "no process here is a subreaper"),
	HELP,
};

static const struct opt ps_rows[] = {
	CHOICE("format", 'f', AT(format), formats, "form of the output"),
	FLAG("json", 0, AT(json), "the same as --format json"),
	HELP,
};

static const struct opt list_rows[] = {
	CHOICE("format", 'f', AT(format), formats, "form of the output"),
	FLAG("json", 0, AT(json), "the same as --format json"),
	FLAG("quiet", 'q', AT(list_quiet), "print the IDs only"),
	HELP,
};

static const struct opt template_rows[] = {
	CHOICE("format", 'f', AT(format), formats, "form of the output of ls"),
	FLAG("json", 0, AT(json), "the same as --format json"),
	HELP,
};

static const struct opt check_rows[] = {
	CHOICE("format", 'f', AT(format), check_formats, "form of the output"),
	FLAG("json", 0, AT(json), "the same as --format json"),
	HELP,
};

static const struct opt update_rows[] = {
	TEXT("resources", 'r', AT(update.resources), "FILE",
	     "read a resources object in JSON from FILE (- is stdin); other options are then ignored"),
	LIMIT("memory", AT(update.memory), "memory limit"),
	LIMIT("memory-swap", AT(update.memory_swap), "limit of memory and swap together; -1 is none"),
	LIMIT("memory-reservation", AT(update.memory_reservation), "memory that is reclaimed last"),
	NUMBER("cpu-share", AT(update.cpu_shares), "CPU weight against other containers"),
	NUMBER("cpu-quota", AT(update.cpu_quota), "CPU time in each period, in microseconds; -1 is no limit"),
	NUMBER("cpu-period", AT(update.cpu_period), "length of the period, in microseconds"),
	NUMBER("cpu-burst", AT(update.cpu_burst), "CPU time that may be saved up, in microseconds"),
	NUMBER("cpu-idle", AT(update.cpu_idle), "1: run only when nothing else does"),
	NUMBER("cpu-rt-period", AT(update.cpu_rt_period), "real-time period, in microseconds"),
	NUMBER("cpu-rt-runtime", AT(update.cpu_rt_runtime), "real-time CPU time in each period"),
	TEXT("cpuset-cpus", 0, AT(update.cpus), "LIST", "CPUs to run on, such as 0-2,4"),
	TEXT("cpuset-mems", 0, AT(update.mems), "LIST", "memory nodes to use"),
	NUMBER("pids-limit", AT(update.pids_limit), "number of processes; -1 is no limit"),
	NUMBER("blkio-weight", AT(update.blkio_weight), "weight of block I/O, 10 to 1000"),
	LIMIT("kernel-memory", OPT_NOWHERE, IGNORED "the kernel has no such limit any more"),
	LIMIT("kernel-memory-tcp", OPT_NOWHERE, IGNORED "the kernel has no such limit any more"),
	TEXT("l3-cache-schema", 0, OPT_REFUSED, "SCHEMA", REFUSED "Intel RDT is not supported"),
	TEXT("mem-bw-schema", 0, OPT_REFUSED, "SCHEMA", REFUSED "Intel RDT is not supported"),
	HELP,
};

static const struct opt events_rows[] = {
	FLAG("stats", 0, AT(events_stats), "print the statistics once and end"),
	{ "interval", 0, OPT_DURATION, OPT_FROM_CLI, AT(events_interval_ns), NS_PER_SEC / 1000,
	  86400 * NS_PER_SEC, NULL, NULL, "time between two statistics (default 5s)" },
	HELP,
};

static const struct opt spec_rows[] = {
	TEXT("bundle", 'b', AT(spec_bundle), "DIR", "where config.json is written (default: here)"),
	FLAG("rootless", 0, AT(spec_rootless), "with user and group mappings"),
	HELP,
};

static const struct opt checkpoint_rows[] = {
	TEXT("image-path", 0, OPT_NOWHERE, "DIR", IGNORED "not supported"),
	TEXT("work-path", 0, OPT_NOWHERE, "DIR", IGNORED "not supported"),
	TEXT("parent-path", 0, OPT_NOWHERE, "DIR", IGNORED "not supported"),
	FLAG("leave-running", 'R', OPT_NOWHERE, IGNORED "not supported"),
	FLAG("tcp-established", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("ext-unix-sk", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("shell-job", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("file-locks", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("pre-dump", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("lazy-pages", 0, OPT_NOWHERE, IGNORED "not supported"),
	TEXT("status-fd", 0, OPT_NOWHERE, "FD", IGNORED "not supported"),
	TEXT("page-server", 0, OPT_NOWHERE, "ADDRESS", IGNORED "not supported"),
	TEXT("manage-cgroups-mode", 0, OPT_NOWHERE, "MODE", IGNORED "not supported"),
	TEXT("empty-ns", 0, OPT_NOWHERE, "TYPE", IGNORED "not supported"),
	FLAG("auto-dedup", 0, OPT_NOWHERE, IGNORED "not supported"),
	HELP,
};

static const struct opt restore_rows[] = {
	TEXT("bundle", 'b', OPT_NOWHERE, "DIR", IGNORED "not supported"),
	TEXT("console-socket", 0, OPT_NOWHERE, "SOCKET", IGNORED "not supported"),
	TEXT("image-path", 0, OPT_NOWHERE, "DIR", IGNORED "not supported"),
	TEXT("work-path", 0, OPT_NOWHERE, "DIR", IGNORED "not supported"),
	FLAG("tcp-established", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("tcp-close", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("ext-unix-sk", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("shell-job", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("file-locks", 0, OPT_NOWHERE, IGNORED "not supported"),
	TEXT("manage-cgroups-mode", 0, OPT_NOWHERE, "MODE", IGNORED "not supported"),
	FLAG("detach", 'd', OPT_NOWHERE, IGNORED "not supported"),
	TEXT("pid-file", 0, OPT_NOWHERE, "FILE", IGNORED "not supported"),
	FLAG("no-subreaper", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("no-pivot", 0, OPT_NOWHERE, IGNORED "not supported"),
	TEXT("empty-ns", 0, OPT_NOWHERE, "TYPE", IGNORED "not supported"),
	FLAG("auto-dedup", 0, OPT_NOWHERE, IGNORED "not supported"),
	FLAG("lazy-pages", 0, OPT_NOWHERE, IGNORED "not supported"),
	TEXT("lsm-profile", 0, OPT_NOWHERE, "PROFILE", IGNORED "not supported"),
	TEXT("lsm-mount-context", 0, OPT_NOWHERE, "CONTEXT", IGNORED "not supported"),
	HELP,
};

const struct opt_table cli_global_opts = OPT_TABLE(global_rows);

static const char no_checkpoints[] = "a VM's state can't be saved to files yet";

/* Verbs that print texts of this program only; the tables are all they need. */
static int cmd_version(struct cli *c, struct err *e);
static int cmd_help(struct cli *c, struct err *e);

#define ID_ONLY .id = true, .min = 1, .max = 1, .until = ALL_ARGS, .fail_code = 1
#define NO_ARGS .until = ALL_ARGS, .fail_code = 1
const struct cli_verb cli_verbs[] = {
	{ "create", "set up a container in a VM of its own; its program does not run yet", "[OPTION]... ID",
	  OPT_TABLE(create_rows), ID_ONLY, .settings = true, .run = cmd_create },
	{ "start", "run a created container's program", "ID", OPT_TABLE(help_rows), ID_ONLY,
	  .run = cmd_start },
	{ "run", "create a container, start it, wait for its end and delete it",
	  "[OPTION]... ID | --image NAME [OPTION]... [--] [COMMAND [ARG]...]", OPT_TABLE(run_rows), ID_ONLY,
	  .ends = AT(image.name), .settings = true, .run = cmd_run },
	{ "state", "print a container's state as JSON", "ID", OPT_TABLE(help_rows), ID_ONLY,
	  .run = cmd_state },
	{ "kill", "send a signal to a container (default: TERM)", "[OPTION]... ID [SIGNAL]",
	  OPT_TABLE(kill_rows), .id = true, .min = 1, .max = 2, .until = ALL_ARGS, .fail_code = 1,
	  .run = cmd_kill },
	{ "delete", "remove a stopped container", "[OPTION]... ID", OPT_TABLE(delete_rows), ID_ONLY,
	  .run = cmd_delete },
	{ "exec", "run a further program in a running container",
	  "[OPTION]... ID COMMAND [ARG]... | --process FILE [OPTION]... ID", OPT_TABLE(exec_rows), .id = true,
	  .min = 1, .max = SIZE_MAX, .until = 1, .fail_code = 255, .run = cmd_exec },
	{ "ps", "list a container's processes", "[OPTION]... ID [PS-OPTION]...", OPT_TABLE(ps_rows),
	  .id = true, .min = 1, .max = SIZE_MAX, .until = 1, .fail_code = 1, .run = cmd_ps },
	{ "list", "list the containers", "[OPTION]...", OPT_TABLE(list_rows), NO_ARGS, .run = cmd_list },
	{ "pause", "stop a container's processes for a while", "ID", OPT_TABLE(help_rows), ID_ONLY,
	  .run = cmd_pause },
	{ "resume", "let a paused container go on", "ID", OPT_TABLE(help_rows), ID_ONLY, .run = cmd_resume },
	{ "update", "change a container's limits", "[OPTION]... ID", OPT_TABLE(update_rows), ID_ONLY,
	  .settings = true, .run = cmd_update },
	{ "events", "print a container's statistics and events as JSON", "[OPTION]... ID",
	  OPT_TABLE(events_rows), ID_ONLY, .run = cmd_events },
	{ "spec", "write a config.json to begin with", "[OPTION]...", OPT_TABLE(spec_rows), NO_ARGS,
	  .run = cmd_spec },
	{ "features", "print what this runtime supports as JSON", "", OPT_TABLE(help_rows), NO_ARGS,
	  .settings = true, .run = cmd_features },
	{ "check", "say whether this host can run VMs, and what is missing", "[OPTION]...",
	  OPT_TABLE(check_rows), NO_ARGS, .settings = true, .run = cmd_check },
	{ "template", "list, make or remove saved VMs that new ones are clones of",
	  "[OPTION]... [ls | make | rm KEY... | gc]", OPT_TABLE(template_rows), .max = SIZE_MAX,
	  .until = ALL_ARGS, .fail_code = 1, .settings = true, .run = cmd_template },
	{ "pool", "list, start or end VMs that wait for the next containers",
	  "[OPTION]... [ls | fill | drain]", OPT_TABLE(template_rows), .max = SIZE_MAX, .until = ALL_ARGS,
	  .fail_code = 1, .settings = true, .run = cmd_pool },
	{ "checkpoint", "not supported", "[OPTION]... ID", OPT_TABLE(checkpoint_rows), .id = true, .max = 1,
	  .until = ALL_ARGS, .fail_code = 1, .unsupported = no_checkpoints },
	{ "restore", "not supported", "[OPTION]... ID", OPT_TABLE(restore_rows), .id = true, .max = 1,
	  .until = ALL_ARGS, .fail_code = 1, .unsupported = no_checkpoints },
	{ "version", "print the version", "", OPT_TABLE(help_rows), NO_ARGS, .run = cmd_version },
	{ "help", "explain a command", "[COMMAND]", OPT_TABLE(help_rows), .max = 1, .until = ALL_ARGS,
	  .fail_code = 1, .run = cmd_help },
};
const size_t cli_n_verbs = ARRAY_LEN(cli_verbs);

static int cmd_version(struct cli *c, struct err *e)
{
	scoped_str s = { 0 };

	cli_version(&s, c->env);
	return cli_print(&s, e);
}

static int cmd_help(struct cli *c, struct err *e)
{
	const struct cli_verb *v = c->args.n ? cli_find_verb(c->args.p[0]) : NULL;
	scoped_str s = { 0 };

	if (c->args.n && !v)
		return cli_unknown_verb(c->args.p[0], e);
	cli_usage(&s, v);
	return cli_print(&s, e);
}
