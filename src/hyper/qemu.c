/* qemu.c - the QEMU driver: one process, three sockets (agent, console, QMP) and a pipe for its words; beside
 * it, if the plan says so, cor-fsd, which shares its memory (fsd.h).
 *
 * Called through struct hv_ops on the monitor's thread. Trusts: the vmcfg. Distrusts: what QEMU writes.
 * Never: waits for the guest, or lets QEMU outlive the caller. */
#include "hyper/qemu.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "hyper/child.h"
#include "hyper/cmdline.h"
#include "hyper/disk.h"
#include "hyper/fsd.h"
#include "hyper/layers.h"
#include "hyper/qemu_fork.h"
#include "hyper/qmp.h"
#include "hyper/shape.h"
#include "sys/proc.h"

#define SETTLE_MS       300   /* six times what an idle machine needs */
#define FORK_MS         2000  /* a busy machine needs a hundredth */
#define SAVE_TIMEOUT_MS 30000 /* a state is some 200 KiB, but the machine may be busy */

struct qemu {
	struct qmp qmp;
	int fork_fd; /* to the preloaded object of a VM that is copied; -1 */
};

#define CAPABILITIES                                                                                         \
	"{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true},"                            \
	"{\"capability\":\"events\",\"state\":true}]}"

/* What a clone does first. It is written before QEMU runs, so it costs no round trip. */
static const char clone_commands[] =
	"{\"execute\":\"qmp_capabilities\"}\n"
	"{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"state\"}}\n"
	"{\"execute\":\"migrate-set-capabilities\",\"arguments\":" CAPABILITIES "}\n"
	"{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:state\"}}\n";

static int pair(int *ret_ours, int *ret_theirs)
{
	int p[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0)
		return -errno;
	*ret_ours = p[0];
	*ret_theirs = p[1];
	return 0;
}

/* Both ends of every channel; `theirs` is indexed by the child's fd number. */
static int open_channels(struct hv *hv, struct qemu *q, int theirs[QEMU_FD_N])
{
	int qmp = -1, p[2], r;

	theirs[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (theirs[0] < 0)
		return -errno;
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	hv->log_fd = p[0];
	theirs[1] = p[1];
	theirs[2] = fcntl(p[1], F_DUPFD_CLOEXEC, 3);
	if (theirs[2] < 0)
		return -errno;
	r = pair(&hv->agent_fd, &theirs[QEMU_FD_AGENT]);
	if (r == 0)
		r = pair(&hv->console_fd, &theirs[QEMU_FD_CONSOLE]);
	if (r == 0)
		r = pair(&qmp, &theirs[QEMU_FD_QMP]);
	if (r == 0)
		qmp_init(&q->qmp, qmp);
	return r;
}

/* Ours are read by a loop that must never wait for QEMU. */
static int set_nonblocking(const struct hv *hv)
{
	const int fds[] = { hv->agent_fd, hv->console_fd, hv->log_fd };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fcntl(fds[i], F_SETFL, O_NONBLOCK) < 0)
			return -errno;
	return 0;
}

static bool is_clone(const struct vmcfg *cfg)
{
	return cfg->template_dir && !cfg->template_make;
}

/* The memory as a descriptor: new for a template's maker; read-only for a clone, so that whatever QEMU
 * believes to do with the file can't reach other clones. */
static int open_memory(const struct vmcfg *cfg, int dir, int *ret, struct err *e)
{
	int flags = cfg->template_make ? O_RDWR | O_CREAT | O_EXCL : O_RDONLY | O_NOFOLLOW;
	scoped_fd fd = openat(dir, QEMU_MEMORY_FILE, flags | O_CLOEXEC, 0600);

	if (fd < 0 || (cfg->template_make && ftruncate(fd, (off_t)cfg->memory) < 0))
		return err_set(e, -errno, "template %s/" QEMU_MEMORY_FILE ": %m", cfg->template_dir);
	*ret = take_fd(&fd);
	return 0;
}

/* Descriptors for cor-fsd: stdio as QEMU's, and its end of the socket, whose other one is QEMU's. */
static int open_share(const struct vmcfg *cfg, int theirs[QEMU_FD_N], int fsd[HV_FSD_N], struct err *e)
{
	int r;

	if (!cfg->fsd_path)
		return 0;
	r = pair(&fsd[HV_FSD_SOCKET], &theirs[QEMU_FD_SHARE]);
	for (int i = 0; i < HV_FSD_SOCKET && r == 0; i++) {
		fsd[i] = fcntl(theirs[i], F_DUPFD_CLOEXEC, 3);
		r = fsd[i] < 0 ? -errno : 0;
	}
	return r < 0 ? err_set(e, r, "channels to the file server: %m") : 0;
}

/* What one that waits has translated is what it is kept for. KVM translates nothing. */
static bool gives_back(const struct vmcfg *cfg)
{
	return cfg->hypervisor_preload && is_clone(cfg) && !cfg->kvm && !cfg->waits;
}

static int run_qemu(struct hv *hv, const struct vmcfg *cfg, const int theirs[QEMU_FD_N], struct err *e)
{
	struct hv_child c = { .path = cfg->hypervisor_path,
			      .remedy = "install QEMU (Debian: apt install qemu-system-x86), or set "
					"qemu.path in cor.conf",
			      .preload = cfg->hypervisor_preload,
			      .small_pages = is_clone(cfg),
			      .rests = gives_back(cfg),
			      .n_fds = QEMU_FD_MEMORY };
	scoped_strv args = { 0 };
	int r;

	r = qemu_args(cfg, &args, e);
	if (r < 0)
		return r;
	c.argv = args.p;
	while (c.n_fds < QEMU_FD_N && theirs[c.n_fds] >= 0)
		c.n_fds++;
	memcpy(c.fds, theirs, sizeof c.fds[0] * c.n_fds);
	return hv_child_start(&c, &hv->pid, &hv->pidfd, e);
}

/* Both at the same time: QEMU waits for cor-fsd's first answer. */
static int run(struct hv *hv, const struct vmcfg *cfg, const int theirs[QEMU_FD_N], const int fsd[HV_FSD_N],
	       struct err *e)
{
	struct hv_jailing jailing = HV_JAILING_NONE;
	int r = cfg->fsd_path ? hv_fsd_begin(cfg, HV_FSD_RINGS, fsd, &jailing, e) : 0;

	if (r == 0)
		r = run_qemu(hv, cfg, theirs, e);
	if (r == 0 && cfg->fsd_path)
		r = hv_jailed_finish(&jailing, &hv->helper, &hv->helper_fd, e);
	hv_jailed_drop(&jailing);
	return r;
}

static int open_fork(struct qemu *q, int *ret_theirs, struct err *e)
{
	int p[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p) < 0)
		return err_set(e, -errno, "channels to the hypervisor: %m");
	q->fork_fd = p[0];
	*ret_theirs = p[1];
	return 0;
}

/* Numbers without a file are held by another one that is harmless: layers follow. */
static int open_layers(const struct vmcfg *cfg, int theirs[QEMU_FD_N], struct err *e)
{
	int r;

	for (size_t i = QEMU_FD_MEMORY; i < QEMU_FD_LAYERS && cfg->layers.n; i++) {
		if (theirs[i] < 0)
			theirs[i] = fcntl(theirs[0], F_DUPFD_CLOEXEC, 3);
		if (theirs[i] < 0)
			return err_set(e, -errno, "channels to the hypervisor: %m");
	}
	r = hv_layers_open(cfg, theirs + QEMU_FD_LAYERS, e);
	return r == 0 ? hv_disk_open(cfg, theirs + QEMU_FD_LAYERS + cfg->layers.n, e) : r;
}

static int give_state(const struct qemu *q, const struct vmcfg *cfg, int dir, struct err *e)
{
	scoped_fd fd = openat(dir, QEMU_STATE_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int r = fd < 0 ? -errno : qmp_preload(&q->qmp, clone_commands, fd);

	return r < 0 ? err_set(e, r, "template %s/" QEMU_STATE_FILE ": %m", cfg->template_dir) : 0;
}

/* What a VM has of its template: a maker its memory, a clone that of the very template whose state it gets.
 */
static int open_template(const struct qemu *q, const struct vmcfg *cfg, int *ret_memory, struct err *e)
{
	scoped_fd dir = -1;
	int r;

	if (!cfg->template_dir)
		return 0;
	r = hv_template_open(cfg, &dir, e);
	if (r == 0)
		r = open_memory(cfg, dir, ret_memory, e);
	return r == 0 && is_clone(cfg) ? give_state(q, cfg, dir, e) : r;
}

static int qemu_start(struct hv *hv, const struct vmcfg *cfg, struct err *e)
{
	int theirs[QEMU_FD_N], fsd[HV_FSD_N];
	struct qemu *q;
	int r;

	if (hv->priv)
		return err_set(e, -EALREADY, "the hypervisor was started before");
	for (size_t i = 0; i < ARRAY_LEN(theirs); i++)
		theirs[i] = -1;        /* and stays so: the memory, if it has no file */
	memset(fsd, 0xff, sizeof fsd); /* every fd is -1 */
	q = calloc(1, sizeof *q);
	if (!q)
		return err_set(e, -ENOMEM, "out of memory");
	q->qmp.fd = q->fork_fd = -1;
	hv->priv = q;
	r = open_channels(hv, q, theirs);
	if (r == 0)
		r = set_nonblocking(hv);
	if (r < 0)
		(void)err_set(e, r, "channels to the hypervisor: %m");
	if (r == 0)
		r = open_template(q, cfg, &theirs[QEMU_FD_MEMORY], e);
	if (r == 0 && cfg->forkable)
		r = open_fork(q, &theirs[QEMU_FD_FORK], e);
	if (r == 0)
		r = open_share(cfg, theirs, fsd, e);
	if (r == 0)
		r = open_layers(cfg, theirs, e);
	if (r == 0)
		r = run(hv, cfg, theirs, fsd, e);
	for (size_t i = 0; i < ARRAY_LEN(fsd); i++)
		scope_close(&fsd[i]);
	for (size_t i = 0; i < ARRAY_LEN(theirs); i++)
		scope_close(&theirs[i]);
	return r;
}

static int command(struct hv *hv, const char *name, struct err *e)
{
	struct qemu *q = hv->priv;

	if (!q || hv->pid < 0)
		return err_set(e, -ESRCH, "the hypervisor does not run");
	return qmp_command(&q->qmp, name, HV_TIMEOUT_MS, e);
}

static int qemu_pause(struct hv *hv, struct err *e)
{
	return command(hv, "stop", e);
}

static int qemu_resume(struct hv *hv, struct err *e)
{
	return command(hv, "cont", e);
}

/* Paths and the command line stand for themselves; the share and the template's own place are given
 * anew to each clone. */
static int qemu_shape(const struct vmcfg *cfg, struct str *to, struct err *e)
{
	static char share[] = "/";
	scoped_str words = { 0 };
	const char *const files[] = { cfg->hypervisor_path, cfg->hypervisor_preload, cfg->kernel,
				      hv_shape_os(cfg) };
	struct vmcfg plain = *cfg;
	scoped_strv args = { 0 };
	int r;

	hv_cmdline_shape(cfg->cmdline, &words);
	if (str_check(&words) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	plain.share = share;
	plain.cmdline = words.p;
	plain.template_dir = NULL;
	plain.template_make = false;
	plain.merge = false;
	plain.forkable = false;
	hv_shape_layers(cfg, to);
	r = hv_shape_files(files, ARRAY_LEN(files), to, e);
	if (r == 0)
		r = qemu_args(&plain, &args, e);
	return r == 0 ? hv_shape_args(&args, to, e) : r;
}

/* Runs the migration whose target is fd and waits for its end. The guest runs on until the last moment,
 * so that a clone goes on by itself. */
static int write_state(struct qmp *q, int fd, struct err *e)
{
	int r;

	r = qmp_command_args(q, "migrate-set-capabilities", CAPABILITIES, HV_TIMEOUT_MS, e);
	if (r == 0)
		r = qmp_send_fd(q, "state", fd, HV_TIMEOUT_MS, e);
	if (r == 0)
		r = qmp_command_args(q, "migrate", "{\"uri\":\"fd:state\"}", HV_TIMEOUT_MS, e);
	if (r == 0)
		r = qmp_wait_event(q, 1u << QMP_SAVED | 1u << QMP_NOT_SAVED, SAVE_TIMEOUT_MS, e);
	if (r < 0)
		return r;
	if ((unsigned)r & 1u << QMP_NOT_SAVED)
		return err_set(e, -EIO, "the hypervisor could not save its state");
	return 0;
}

static int qemu_save(struct hv *hv, const char *dir, int timeout_ms, int rest_ms unused_arg, struct err *e)
{
	scoped_free char *path = str_fmt("%s/" QEMU_STATE_FILE, dir);
	struct qemu *q = hv->priv;
	scoped_fd fd = -1;
	int r;

	if (!q || hv->pid < 0)
		return err_set(e, -ESRCH, "the hypervisor does not run");
	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, -errno, "template %s: %m", path);
	r = qmp_wait_event(&q->qmp, 1u << QMP_PORT_OPEN, timeout_ms, e);
	if (r < 0)
		return r;
	/* The agent goes on until it waits; what it has not done by now, every clone does again, with cold
	 * code. On a machine too busy for that the clones are right, only slower. */
	if (proc_wait_end(hv->pidfd, SETTLE_MS) != -ETIMEDOUT)
		return err_set(e, -ESRCH, "the hypervisor ended before its state was saved");
	r = write_state(&q->qmp, fd, e);
	if (r < 0)
		return r;
	hv_child_kill(hv->pidfd); /* the state is written; the memory is in the page cache, also after this */
	r = proc_wait_end(hv->pidfd, HV_TIMEOUT_MS);
	return r < 0 ? err_set(e, r, "the end of the hypervisor: %m") : 0;
}

static int qemu_control(const struct hv *hv)
{
	const struct qemu *q = hv->priv;

	return q ? q->qmp.fd : -1;
}

/* Nobody has spoken on the connection yet, but for the lines that were preloaded. */
static int qemu_attach(struct hv *hv, int control_fd)
{
	struct qemu *q = calloc(1, sizeof *q);

	if (!q)
		return -ENOMEM;
	qmp_init(&q->qmp, control_fd);
	q->qmp.ready = hv->copied;
	q->fork_fd = -1;
	hv->priv = q;
	return 0;
}

/* Both ends of a copy's channels. */
static int open_copy(struct hv *hv, struct qemu *q, int theirs[QEMU_FORK_FD_N])
{
	int qmp = -1, p[2], r;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	hv->log_fd = p[0];
	theirs[QEMU_FORK_LOG] = p[1];
	r = pair(&hv->agent_fd, &theirs[QEMU_FORK_AGENT]);
	if (r == 0)
		r = pair(&hv->console_fd, &theirs[QEMU_FORK_CONSOLE]);
	if (r == 0)
		r = pair(&qmp, &theirs[QEMU_FORK_QMP]);
	if (r < 0)
		return r;
	qmp_init(&q->qmp, qmp);
	q->qmp.ready = true; /* the original's greeting is the copy's */
	return set_nonblocking(hv);
}

struct answer {
	struct qemu_fork_answer a;
	int pidfd; /* ours; -1 = none */
};

static int read_answer(int sock, int timeout_ms, struct answer *ret)
{
	size_t n_fds = 0;
	ssize_t n;
	int r;

	ret->pidfd = -1;
	r = io_wait_readable(sock, timeout_ms);
	if (r < 0)
		return r;
	n = io_recv_fds(sock, &ret->a, sizeof ret->a, &ret->pidfd, 1, &n_fds);
	if (n < 0)
		return (int)n;
	if (!n_fds)
		ret->pidfd = -1;
	if (n == (ssize_t)sizeof ret->a && ret->a.who <= QEMU_FORK_COPY)
		return 0;
	scope_close(&ret->pidfd);
	ret->pidfd = -1;
	return -EPROTO;
}

/* The two answers. From the original's on the copy is *copy's, whatever the other is. *ret_code: why there is
 * none. */
static int await_copy(int sock, struct hv *copy, int *ret_code)
{
	struct answer got;
	unsigned seen = 0;
	int r;

	*ret_code = 0;
	while (*ret_code == 0 && seen != (1u << QEMU_FORK_ORIGINAL | 1u << QEMU_FORK_COPY)) {
		r = read_answer(sock, FORK_MS, &got);
		if (r == 0 && got.pidfd >= 0) {
			copy->pid = (pid_t)got.a.pid;
			copy->pidfd = got.pidfd;
		} else if (r == 0 && got.a.who == QEMU_FORK_ORIGINAL && got.a.code == 0) {
			r = -EPROTO;
		}
		if (r < 0)
			return r;
		seen |= 1u << got.a.who;
		*ret_code = got.a.code;
	}
	/* A copy that failed may have been quicker to say so than the original to tell its pid. */
	if (seen == 1u << QEMU_FORK_COPY && read_answer(sock, FORK_MS, &got) == 0) {
		copy->pid = (pid_t)got.a.pid;
		copy->pidfd = got.pidfd;
	}
	return 0;
}

/* After that no answer can come any more: a copy of which nobody knows ends by itself, or here. */
static void close_fork(struct qemu *q)
{
	struct answer got;

	(void)shutdown(q->fork_fd, SHUT_RDWR);
	while (read_answer(q->fork_fd, 0, &got) == 0)
		if (got.pidfd >= 0) {
			hv_child_kill(got.pidfd);
			(void)close(got.pidfd);
		}
	scope_close(&q->fork_fd);
	q->fork_fd = -1;
}

static int ask_copy(struct qemu *from, int share, struct hv *copy, struct qemu *q, struct err *e)
{
	static const struct qemu_fork_ask ask = { .word = QEMU_FORK_WORD };
	int theirs[QEMU_FORK_FD_N] = { -1, -1, -1, -1, -1 };
	int r, code = 0;

	r = open_copy(copy, q, theirs);
	theirs[QEMU_FORK_SHARE] = share;
	if (r == 0)
		r = qmp_preload(&q->qmp, "{\"execute\":\"cont\"}\n", -1);
	if (r == 0)
		r = io_send_fds(from->fork_fd, &ask, sizeof ask, theirs, QEMU_FORK_FD_N);
	for (size_t i = 0; i < QEMU_FORK_SHARE; i++)
		scope_close(&theirs[i]);
	if (r < 0)
		return err_set(e, -EOPNOTSUPP, "a copy of the VM: %s", strerror(-r));
	r = await_copy(from->fork_fd, copy, &code);
	if (r < 0) {
		close_fork(from);
		return err_set(e, r, "a copy of the VM: %m");
	}
	return code < 0 ? err_set(e, -EOPNOTSUPP, "the VM can't be copied: %s", strerror(-code)) : 0;
}

static int qemu_fork(struct hv *hv, int share, struct hv *copy, struct err *e)
{
	struct qemu *from = hv->priv, *q;

	if (!from || from->fork_fd < 0)
		return err_set(e, -EOPNOTSUPP, "this VM was not started to be copied");
	q = calloc(1, sizeof *q);
	if (!q)
		return err_set(e, -EOPNOTSUPP, "out of memory");
	q->qmp.fd = q->fork_fd = -1;
	copy->priv = q;
	copy->copied = true;
	return ask_copy(from, share, copy, q, e);
}

static void qemu_stop(struct hv *hv)
{
	if (hv->pid > 0)
		hv_child_kill(hv->pidfd);
}

static void qemu_why(struct hv *hv, int wait_status, struct str *to)
{
	hv_child_why("QEMU", wait_status, hv->log_fd, to);
}

static void qemu_fini(struct hv *hv)
{
	struct qemu *q = hv->priv;

	if (q) {
		qmp_fini(&q->qmp);
		scope_close(&q->fork_fd);
	}
	free(q);
	hv->priv = NULL;
}

const struct hv_ops qemu_ops = {
	.name = "qemu",
	.start = qemu_start,
	.pause = qemu_pause,
	.resume = qemu_resume,
	.shape = qemu_shape,
	.save = qemu_save,
	.control = qemu_control,
	.attach = qemu_attach,
	.fork = qemu_fork,
	.stop = qemu_stop,
	.why = qemu_why,
	.fini = qemu_fini,
};
