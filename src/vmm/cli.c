/* cli.c - see cli.h. Called by main(). The one place that parses text and opens files: afterwards the machine
 * has values and fds.
 *
 * Every file may be given as a path or as fd:N, an fd that the caller left open (the monitor does so). */
#include "vmm/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "base/io.h"
#include "base/num.h"
#include "base/str.h"
#include "vmm/control.h"
#include "vmm/layout.h"
#include "vmm/machine.h"
#include "vmm/note.h"

#define EXIT_USAGE   1
#define EXIT_MACHINE 2

/* What the options say, before anything is opened. */
struct options {
	const char *kernel, *initrd, *cmdline, *console, *serial, *port, *kvm, *control, *memory_file,
		*restore;
	uint64_t memory, cpus;
	bool huge_pages, clone;
};

static const struct option_row {
	const char *name;
	enum { OPT_TEXT, OPT_SIZE, OPT_COUNT, OPT_FLAG } kind;
	size_t offset;
	const char *arg, *help;
} rows[] = {
	{ "kernel", OPT_TEXT, offsetof(struct options, kernel), "FILE", "ELF kernel or bzImage" },
	{ "initrd", OPT_TEXT, offsetof(struct options, initrd), "FILE", "initial file system" },
	{ "cmdline", OPT_TEXT, offsetof(struct options, cmdline), "TEXT", "kernel command line" },
	{ "cpus", OPT_COUNT, offsetof(struct options, cpus), "N", "vCPUs, 1 to 64 (1)" },
	{ "memory", OPT_SIZE, offsetof(struct options, memory), "SIZE", "32M or more, whole MiB (128M)" },
	{ "huge-pages", OPT_FLAG, offsetof(struct options, huge_pages), "",
	  "memory of the host's 2 MiB pages" },
	{ "console", OPT_TEXT, offsetof(struct options, console), "WHERE",
	  "hvc0: stdio, pty, none, FILE or fd:N (stdio)" },
	{ "serial", OPT_TEXT, offsetof(struct options, serial), "FILE",
	  "a 16550 at 0x3F8 that only sends; stdio too" },
	{ "port", OPT_TEXT, offsetof(struct options, port), "NAME=fd:N",
	  "a named byte stream, over this socket" },
	{ "control", OPT_TEXT, offsetof(struct options, control), "PATH",
	  "control socket (see cor-vmm ctl)" },
	{ "memory-file", OPT_TEXT, offsetof(struct options, memory_file), "FILE",
	  "the guest's memory is this file" },
	{ "restore", OPT_TEXT, offsetof(struct options, restore), "FILE",
	  "go on from a saved state, with --memory-file" },
	{ "clone", OPT_FLAG, offsetof(struct options, clone), "",
	  "with --restore: leave the memory file as it is" },
	{ "kvm", OPT_TEXT, offsetof(struct options, kvm), "fd:N", "an open /dev/kvm" },
};

static void usage(FILE *to)
{
	(void)fprintf(
		to, "usage: cor-vmm run --kernel FILE [OPTION...]\n\n"
		    "Runs a virtual machine until its guest powers off. A FILE may be fd:N, an open fd.\n\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		(void)fprintf(to, "  --%s %-*s %s\n", rows[i].name, (int)(22 - strlen(rows[i].name)),
			      rows[i].arg, rows[i].help);
}

static const struct option_row *find_row(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
			return &rows[i];
	return NULL;
}

static int set_row(const struct option_row *row, const char *value, struct options *o, struct err *e)
{
	char *at = (char *)o + row->offset;
	uint64_t n = 0;
	int r = 0;

	if (row->kind == OPT_TEXT) {
		memcpy(at, &value, sizeof value);
		return 0;
	}
	if (row->kind == OPT_FLAG) {
		*(bool *)(void *)at = true;
		return 0;
	}
	r = row->kind == OPT_SIZE ? num_parse_size(value, &n) : num_parse_u64(value, &n);
	if (r < 0)
		return err_set(e, -EINVAL, "--%s %s: not a %s", row->name, value,
			       row->kind == OPT_SIZE ? "size (512M, 2G)" : "number");
	memcpy(at, &n, sizeof n);
	return 0;
}

/* "--name value" or "--name=value". */
static int parse(int argc, char **argv, struct options *o, struct err *e)
{
	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i], *eq = strchr(arg, '=');
		size_t len = eq ? (size_t)(eq - arg) : strlen(arg);
		const struct option_row *row;
		int r;

		row = str_starts(arg, "--") ? find_row(arg + 2, len - 2) : NULL;
		if (!row)
			return err_set(e, -EINVAL, "%s: no such option (cor-vmm --help lists them)", arg);
		if (!eq && row->kind != OPT_FLAG && i + 1 == argc)
			return err_set(e, -EINVAL, "%s: wants %s", arg, row->arg);
		if (!eq && row->kind != OPT_FLAG)
			eq = argv[++i] - 1;
		r = set_row(row, eq ? eq + 1 : "", o, e);
		if (r < 0)
			return r;
	}
	if (!o->kernel == !o->restore)
		return err_set(e, -EINVAL, "one of --kernel and --restore is needed");
	if (o->restore && !o->memory_file)
		return err_set(e, -EINVAL, "--restore wants --memory-file too");
	if (o->clone && !o->restore)
		return err_set(e, -EINVAL, "--clone is for --restore");
	return 0;
}

/* An inherited fd, which becomes ours, or a freshly opened one. */
static int open_file(const char *what, const char *name, int flags, int *ret, struct err *e)
{
	uint64_t n;
	int fd;

	if (str_starts(name, "fd:")) {
		if (num_parse_u64_max(name + 3, 65535, &n) < 0 || fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0)
			return err_set(e, -EBADF, "--%s %s: not an open fd", what, name);
		*ret = (int)n;
		return 0;
	}
	fd = open(name, flags | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd < 0)
		return err_set(e, -errno, "--%s %s: %m", what, name);
	*ret = fd;
	return 0;
}

static int dup_fd(int fd, int *ret, struct err *e)
{
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret < 0 ? err_set(e, -errno, "duplicate an fd: %m") : 0;
}

/* ---- the console ---- */

static int open_stdio(struct console_cfg *c, struct err *e)
{
	c->in_fd = io_unshare_open(STDIN_FILENO);
	c->out_fd = io_unshare_open(STDOUT_FILENO);
	if (c->out_fd < 0)
		return err_set(e, c->out_fd, "--console stdio: %m");
	return 0; /* without a stdin there is no input */
}

static int open_pty(struct console_cfg *c, struct err *e)
{
	char name[64];
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

	c->in_fd = fd;
	if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, name, sizeof name) != 0)
		return err_set(e, -errno, "--console pty: %m");
	note("console=%s", name);
	return dup_fd(fd, &c->out_fd, e);
}

static int open_console(const char *where, struct console_cfg *c, struct err *e)
{
	int r;

	if (str_eq(where, "none"))
		return 0;
	if (!where || str_eq(where, "stdio"))
		return open_stdio(c, e);
	if (str_eq(where, "pty"))
		return open_pty(c, e);
	r = open_file("console", where, O_WRONLY | O_CREAT | O_APPEND, &c->out_fd, e);
	if (r < 0 || !str_starts(where, "fd:"))
		return r;
	if (fcntl(c->out_fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return err_set(e, -errno, "--console %s: %m", where);
	return dup_fd(c->out_fd, &c->in_fd, e);
}

static int open_port(char *name, const char *fd, struct console_cfg *c, struct err *e)
{
	int r = open_file("port", fd, O_RDWR, &c->port_in_fd, e);

	if (r < 0)
		return r;
	if (fcntl(c->port_in_fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return err_set(e, -errno, "--port %s: %m", fd);
	c->has_port = true;
	c->port_name = name;
	return dup_fd(c->port_in_fd, &c->port_out_fd, e);
}

/* ---- the machine ---- */

/* Every file that is only opened. */
static int open_plain(const struct options *o, struct vmm_cfg *cfg, struct err *e)
{
	const struct {
		const char *what, *name;
		int flags, *fd;
	} files[] = {
		{ "kernel", o->kernel, O_RDONLY, &cfg->kernel_fd },
		{ "initrd", o->initrd, O_RDONLY, &cfg->initrd_fd },
		{ "kvm", o->kvm, O_RDWR, &cfg->kvm_fd },
		{ "restore", o->restore, O_RDONLY, &cfg->state_fd },
		{ "memory-file", o->memory_file, o->clone ? O_RDONLY : O_RDWR | O_CREAT, &cfg->memory_fd },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(files) && r == 0; i++)
		if (files[i].name)
			r = open_file(files[i].what, files[i].name, files[i].flags, files[i].fd, e);
	return r;
}

static int open_all(const struct options *o, char **port_name, struct vmm_cfg *cfg, struct err *e)
{
	const char *eq = o->port ? strchr(o->port, '=') : NULL;
	int r = open_plain(o, cfg, e);

	if (r == 0 && str_eq(o->serial, "stdio"))
		r = dup_fd(STDOUT_FILENO, &cfg->serial_fd, e);
	else if (r == 0 && o->serial)
		r = open_file("serial", o->serial, O_WRONLY | O_CREAT | O_APPEND, &cfg->serial_fd, e);
	if (r == 0)
		r = open_console(o->console, &cfg->console, e);
	if (r < 0 || !o->port)
		return r;
	if (!eq)
		return err_set(e, -EINVAL, "--port %s: NAME=fd:N", o->port);
	*port_name = str_fmt("%.*s", (int)(eq - o->port), o->port);
	if (!*port_name)
		return err_set(e, -ENOMEM, "out of memory");
	return open_port(*port_name, eq + 1, &cfg->console, e);
}

static const struct vmm_cfg empty = {
	.kvm_fd = -1,
	.kernel_fd = -1,
	.initrd_fd = -1,
	.memory_fd = -1,
	.state_fd = -1,
	.serial_fd = -1,
	.has_console = true,
	.console = { .in_fd = -1, .out_fd = -1, .port_in_fd = -1, .port_out_fd = -1 }
};

/* What the program adds to a machine: signals, and the control socket. */
struct extras {
	struct source signals;
	int signal_fd;
	struct machine *m;
	struct control ctl;
};

static void on_signal(struct source *s, uint32_t events)
{
	(void)events;
	machine_stop(container_of(s, struct extras, signals)->m, END_STOPPED, "signal", 0);
}

/* SIGINT and SIGTERM end the machine instead of the process. */
static int catch_signals(struct extras *x, struct err *e)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	x->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (x->signal_fd < 0 || loop_add(&x->m->loop, &x->signals, x->signal_fd, EPOLLIN, on_signal) < 0)
		return err_set(e, -errno, "signals: %m");
	return 0;
}

/* A path is made a listening socket; an fd is taken as it is. */
static int open_control(const char *name, struct extras *x, struct err *e)
{
	const char *base = strrchr(name, '/');
	scoped_free char *dir = NULL;
	scoped_fd at = -1;
	int fd = -1, r = 0;

	if (str_starts(name, "fd:")) {
		r = open_file("control", name, O_RDWR, &fd, e);
	} else {
		dir = base ? str_fmt("%.*s", (int)(base - name + 1), name) : str_fmt(".");
		at = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
		fd = at < 0 ? -errno : io_unix_listen_at(at, base ? base + 1 : name, 4);
		if (fd < 0)
			r = err_set(e, fd, "--control %s: %m", name);
	}
	return r == 0 ? control_init(&x->ctl, x->m, fd, e) : r;
}

static void extras_fini(struct extras *x)
{
	control_fini(&x->ctl);
	loop_del(&x->signals);
	scope_close(&x->signal_fd);
}

static int report(const struct machine *m)
{
	if (m->end != END_CRASH)
		return 0;
	note("event=%s reason=\"%s\" code=0x%llx", machine_end_text(m->end),
	     m->end_reason ? m->end_reason : "", (unsigned long long)m->end_code);
	return EXIT_MACHINE;
}

/* A terminal on stdin passes every key on but ^C and friends; put back by the caller. */
static bool raw_stdin(struct termios *ret_old)
{
	struct termios t;

	if (tcgetattr(STDIN_FILENO, ret_old) < 0)
		return false;
	t = *ret_old;
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	t.c_iflag &= ~(tcflag_t)ICRNL;
	return tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

/* Of a built machine. */
static int serve_machine(struct machine *m, const struct options *o, struct err *e)
{
	struct extras x = { .m = m, .signal_fd = -1 };
	struct termios old;
	bool raw;
	int r = catch_signals(&x, e);

	if (r == 0 && o->control)
		r = open_control(o->control, &x, e);
	raw = r == 0 && (!o->console || str_eq(o->console, "stdio")) && raw_stdin(&old);
	if (r == 0)
		r = machine_run(m, e);
	if (raw)
		(void)tcsetattr(STDIN_FILENO, TCSANOW, &old); /* a terminal that is gone needs nothing */
	extras_fini(&x);
	return r == 0 ? report(m) : r;
}

static int run_machine(struct machine *m, struct vmm_cfg *cfg, const struct options *o, struct err *e)
{
	struct hv *hv = NULL;
	int r = kvm_open(cfg->kvm_fd, &hv, e);

	if (r < 0) {
		vmm_cfg_close(cfg);
		return r;
	}
	r = machine_build(m, hv, cfg, e);
	if (r < 0)
		return r;
	r = serve_machine(m, o, e);
	machine_fini(m);
	return r;
}

static int cmd_run(int argc, char **argv, struct err *e)
{
	struct options o = { .memory = 128 * LAYOUT_MIB, .cpus = 1, .cmdline = "console=hvc0" };
	scoped_free struct machine *m = NULL;
	scoped_free char *port_name = NULL;
	struct vmm_cfg cfg = empty;
	int r = parse(argc, argv, &o, e);

	if (r < 0) {
		note("%s", e->msg);
		return EXIT_USAGE;
	}
	cfg.memory = o.memory;
	cfg.cpus = o.cpus > LAYOUT_VCPUS_MAX ? 0 : (uint32_t)o.cpus;
	cfg.huge_pages = o.huge_pages;
	cfg.clone = o.clone;
	cfg.cmdline = o.cmdline;
	m = calloc(1, sizeof *m);
	r = m ? open_all(&o, &port_name, &cfg, e) : err_set(e, -ENOMEM, "out of memory");
	if (r < 0)
		vmm_cfg_close(&cfg);
	else
		r = run_machine(m, &cfg, &o, e);
	if (r < 0)
		note("%s", e->msg);
	return r < 0 ? EXIT_MACHINE : r;
}

int vmm_main(int argc, char **argv)
{
	struct err e = { 0 };

	if (argc >= 2 && str_eq(argv[1], "run"))
		return cmd_run(argc - 2, argv + 2, &e);
	if (argc >= 2 && str_eq(argv[1], "ctl"))
		return vmctl_main(argc - 2, argv + 2);
	if (argc == 2 && str_eq(argv[1], "--help")) {
		usage(stdout);
		return 0;
	}
	if (argc == 2 && str_eq(argv[1], "--version")) {
		(void)printf("cor-vmm " COR_VERSION "\n");
		return 0;
	}
	usage(stderr);
	return EXIT_USAGE;
}
