/* cli.c - see cli.h. Called by main(). The one place that parses text and opens files: afterwards the machine
 * has values and fds.
 *
 * Every file may be given as a path or as fd:N, an fd that the caller left open (the monitor does so). */
#include "vmm/cli.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>

#include "base/num.h"
#include "vmm/control.h"
#include "vmm/layout.h"
#include "vmm/machine.h"
#include "vmm/note.h"
#include "vmm/open.h"

#define EXIT_USAGE   1
#define EXIT_MACHINE MACHINE_EXIT_CRASH

static const struct option_row {
	const char *name;
	enum { OPT_TEXT, OPT_SIZE, OPT_COUNT, OPT_FLAG, OPT_LIST } kind;
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
	{ "merge", OPT_FLAG, offsetof(struct options, merge), "",
	  "the host's KSM may merge its pages with equal ones" },
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
	{ "hot", OPT_TEXT, offsetof(struct options, hot), "FILE",
	  "with --clone: pages that it writes soon, copied at once" },
	{ "disk", OPT_LIST, offsetof(struct options, disks), "FILE[,ro]", "virtio-blk; repeat for more" },
	{ "pmem", OPT_LIST, offsetof(struct options, pmems), "FILE[,ro|,private]",
	  "virtio-pmem, for DAX; repeat" },
	{ "net", OPT_LIST, offsetof(struct options, nets), "tap=NAME|fd:N", "virtio-net; repeat" },
	{ "fs", OPT_LIST, offsetof(struct options, fs), "TAG=fd:N", "virtio-fs over a vhost-user socket" },
	{ "virtiofs", OPT_TEXT, offsetof(struct options, virtiofs), "TAG=fd:N",
	  "virtio-fs over a socket to cor-fsd" },
	{ "rng", OPT_FLAG, offsetof(struct options, rng), "", "random numbers of the host" },
	{ "balloon", OPT_FLAG, offsetof(struct options, balloon), "", "the guest can give memory back" },
	{ "kvm", OPT_TEXT, offsetof(struct options, kvm), "fd:N", "an open /dev/kvm" },
};

static void usage(FILE *to)
{
	(void)fputs("usage: cor-vmm run --kernel FILE [OPTION...]\n"
		    "       cor-vmm ctl SOCKET info|pause|resume|stop|balloon SIZE|save STATE [MEMORY]\n\n"
		    "Runs a virtual machine until its guest powers off. A FILE may be fd:N, an open fd.\n\n",
		    to);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		(void)fprintf(to, "  --%s %-*s %s\n", rows[i].name, (int)(26 - strlen(rows[i].name)),
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
	if (row->kind == OPT_LIST) {
		struct option_list *l = (void *)at;

		if (l->n == OPTION_REPEAT_MAX)
			return err_set(e, -E2BIG, "--%s: at most %d", row->name, OPTION_REPEAT_MAX);
		l->v[l->n++] = value;
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
	if (o->huge_pages && o->memory_file)
		return err_set(e, -EINVAL,
			       "--huge-pages: not with --memory-file, which says where memory is");
	if (o->hot && !o->clone)
		return err_set(e, -EINVAL, "--hot is for --clone");
	return 0;
}

static const struct vmm_cfg empty = {
	.kvm_fd = -1,
	.kernel_fd = -1,
	.initrd_fd = -1,
	.memory_fd = -1,
	.hot_fd = -1,
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

static int start_control(const char *name, struct extras *x, struct err *e)
{
	int fd = -1, r = open_control(name, &fd, e);

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
		r = start_control(o->control, &x, e);
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
	machine_catch_bus();
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
	scoped_strv texts = { 0 };
	struct vmm_cfg cfg = empty;
	int r = parse(argc, argv, &o, e);

	if (r < 0) {
		note("%s", e->msg);
		return EXIT_USAGE;
	}
	cfg.memory = o.memory;
	cfg.cpus = o.cpus > LAYOUT_VCPUS_MAX ? 0 : (uint32_t)o.cpus;
	cfg.huge_pages = o.huge_pages;
	cfg.merge = o.merge;
	cfg.clone = o.clone;
	cfg.cmdline = o.cmdline;
	cfg.rng = o.rng;
	cfg.balloon = o.balloon;
	cfg.confine = true;
	m = calloc(1, sizeof *m);
	r = m ? open_all(&o, &texts, &cfg, e) : err_set(e, -ENOMEM, "out of memory");
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
