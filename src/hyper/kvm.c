/* kvm.c - the driver for cor-vmm: its arguments and descriptors, its control socket, its companion cor-fsd.
 *
 * Called through struct hv_ops on the monitor's thread. Both processes run in jails (cor-jail), so everything
 * that they need is opened here.
 * Trusts: the vmcfg. Distrusts: what cor-vmm sends, which a guest may have taken over. Never: waits for
 * the guest, or lets one of the processes outlive the caller. */
#include "hyper/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mark.h"
#include "hyper/child.h"
#include "hyper/cmdline.h"
#include "hyper/disk.h"
#include "hyper/fsd.h"
#include "hyper/hot.h"
#include "hyper/layers.h"
#include "hyper/shape.h"
#include "sys/proc.h"
#include "wire/vmmctl.h"

#define MIB             (1u << 20)
#define DEVICE          "/dev/kvm"
#define SHARE_TAG       "cor"
#define SAVE_TIMEOUT_MS 30000 /* a state is some KiB, but the machine may be busy */
#define EVENTS_MAX      64    /* unasked messages before an answer */
#define NS_PER_MS       1000000u

struct kvm {
	int control;   /* SOCK_SEQPACKET to cor-vmm, not blocking: who may not read it has the guest; -1 */
	unsigned owed; /* answers, in the order of their requests: some come after we have given up */
	bool port_open;
};

static bool is_clone(const struct vmcfg *cfg)
{
	return cfg->template_dir && !cfg->template_make;
}

/* ---- files: what the machine begins with ---- */

struct kvm_file {
	const char *option;
	const char *path; /* as it is; NULL = `name` in the template's directory */
	const char *name;
	int flags;
	const char *instead; /* opened if it can't be; NULL = an error */
};

/* In the order of their descriptors, from KVM_FD_FILES. */
static size_t kvm_files(const struct vmcfg *cfg, struct kvm_file ret[KVM_FD_FILES_MAX - KVM_FD_FILES])
{
	size_t n = 0;

	if (is_clone(cfg)) {
		ret[n++] =
			(struct kvm_file){ "--restore", NULL, KVM_STATE_FILE, O_RDONLY | O_NOFOLLOW, NULL };
		/* Read-only, so that it can't reach other clones, whatever cor-vmm believes to do with it. */
		ret[n++] = (struct kvm_file){ "--memory-file", NULL, KVM_MEMORY_FILE, O_RDONLY | O_NOFOLLOW,
					      NULL };
		ret[n++] = (struct kvm_file){ "--hot", NULL, HOT_FILE, O_RDONLY | O_NOFOLLOW, "/dev/null" };
		return n;
	}
	ret[n++] = (struct kvm_file){ "--kernel", cfg->kernel, NULL, O_RDONLY, NULL };
	if (cfg->initrd)
		ret[n++] = (struct kvm_file){ "--initrd", cfg->initrd, NULL, O_RDONLY, NULL };
	if (cfg->template_make)
		ret[n++] = (struct kvm_file){ "--memory-file", NULL, KVM_MEMORY_FILE,
					      O_RDWR | O_CREAT | O_EXCL, NULL };
	return n;
}

int kvm_open_files(const struct vmcfg *cfg, int *fds, size_t *ret_n, struct err *e)
{
	struct kvm_file files[KVM_FD_FILES_MAX - KVM_FD_FILES];
	size_t n = kvm_files(cfg, files);
	scoped_fd dir = -1;
	int r = cfg->template_dir ? hv_template_open(cfg, &dir, e) : 0;

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		const struct kvm_file *f = &files[i];

		fds[i] = openat(dir, f->path ? f->path : f->name, f->flags | O_CLOEXEC, 0600);
		if (fds[i] < 0 && f->instead)
			fds[i] = open(f->instead, f->flags | O_CLOEXEC);
		if (fds[i] < 0 && f->path)
			return err_set(e, -errno, "%s: %m", f->path);
		if (fds[i] < 0)
			return err_set(e, -errno, "template %s/%s: %m", cfg->template_dir, f->name);
	}
	*ret_n = n + cfg->layers.n + hv_disk_fds(cfg);
	r = hv_layers_open(cfg, fds + n, e);
	return r == 0 ? hv_disk_open(cfg, fds + n + cfg->layers.n, e) : r;
}

/* ---- arguments ---- */

static int check(const struct vmcfg *cfg, struct err *e)
{
	if (!cfg->hypervisor_path || !cfg->jail_path || !cfg->fsd_path || !cfg->kernel || !hv_shape_os(cfg) ||
	    !cfg->cmdline)
		return err_set(e, -EINVAL, "machine: a path is missing in the plan");
	if (cfg->memory < MIB || cfg->memory % MIB != 0)
		return err_set(e, -EINVAL, "machine: %llu bytes of memory: not a multiple of 1 MiB",
			       (unsigned long long)cfg->memory);
	if (cfg->vcpus < 1)
		return err_set(e, -EINVAL, "machine: no vCPU");
	return 0;
}

static void add_fd(struct strv *to, const char *option, const char *head, size_t fd)
{
	strv_add(to, option);
	strv_addf(to, "%sfd:%zu", head, fd);
}

int kvm_args(const struct vmcfg *cfg, struct strv *to, struct err *e)
{
	struct kvm_file files[KVM_FD_FILES_MAX - KVM_FD_FILES];
	size_t n = kvm_files(cfg, files);
	int r = check(cfg, e);

	if (r < 0)
		return r;
	strv_add(to, cfg->hypervisor_path);
	strv_add(to, "run");
	add_fd(to, "--kvm", "", KVM_FD_DEVICE);
	strv_add(to, "--cpus");
	strv_addf(to, "%u", cfg->vcpus);
	strv_add(to, "--memory");
	strv_addf(to, "%lluM", (unsigned long long)(cfg->memory / MIB));
	add_fd(to, "--console", "", KVM_FD_CONSOLE);
	add_fd(to, "--port", "cor.agent=", KVM_FD_AGENT);
	add_fd(to, "--control", "", KVM_FD_CONTROL);
	add_fd(to, "--virtiofs", SHARE_TAG "=", KVM_FD_SHARE);
	strv_add(to, "--balloon");
	for (size_t i = 0; i < n; i++)
		add_fd(to, files[i].option, "", KVM_FD_FILES + i);
	if (cfg->merge)
		strv_add(to, "--merge");
	for (size_t i = 0; i < cfg->layers.n; i++) {
		strv_add(to, "--pmem");
		strv_addf(to, "fd:%zu,ro", KVM_FD_FILES + n + i);
	}
	if (hv_disk_fds(cfg))
		add_fd(to, "--disk", "", KVM_FD_FILES + n + cfg->layers.n);
	if (is_clone(cfg)) {
		strv_add(to, "--clone");
	} else {
		strv_add(to, "--cmdline");
		strv_add(to, cfg->cmdline);
	}
	for (size_t i = 0; i < cfg->hypervisor_params.n; i++)
		strv_add(to, cfg->hypervisor_params.p[i]);
	r = strv_check(to);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}

/* ---- start ---- */

static int pair(int type, int *ret_ours, int *ret_theirs)
{
	int p[2];

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, p) < 0)
		return -errno;
	*ret_ours = p[0];
	*ret_theirs = p[1];
	return 0;
}

/* Ends for both processes, by the number each has there. */
struct ends {
	int vmm[KVM_FD_N];
	int fsd[HV_FSD_N];
	size_t n_vmm;
};

static void ends_close(struct ends *x)
{
	for (size_t i = 0; i < ARRAY_LEN(x->vmm); i++)
		scope_close(&x->vmm[i]);
	for (size_t i = 0; i < ARRAY_LEN(x->fsd); i++)
		scope_close(&x->fsd[i]);
}

static int open_stdio(int fds[3], int log)
{
	fds[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fds[1] = fcntl(log, F_DUPFD_CLOEXEC, 3);
	fds[2] = fcntl(log, F_DUPFD_CLOEXEC, 3);
	return fds[0] < 0 || fds[1] < 0 || fds[2] < 0 ? -errno : 0;
}

static int open_channels(struct hv *hv, struct kvm *k, struct ends *x)
{
	scoped_fd log = -1;
	int p[2], r;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	hv->log_fd = p[0];
	log = p[1];
	r = open_stdio(x->vmm, log);
	if (r == 0)
		r = open_stdio(x->fsd, log);
	if (r == 0)
		r = pair(SOCK_STREAM, &hv->agent_fd, &x->vmm[KVM_FD_AGENT]);
	if (r == 0)
		r = pair(SOCK_STREAM, &hv->console_fd, &x->vmm[KVM_FD_CONSOLE]);
	if (r == 0)
		r = pair(SOCK_SEQPACKET, &k->control, &x->vmm[KVM_FD_CONTROL]);
	if (r == 0)
		r = pair(SOCK_SEQPACKET, &x->fsd[HV_FSD_SOCKET], &x->vmm[KVM_FD_SHARE]);
	/* Ours are read by a loop that must never wait for the VM. */
	if (r == 0 &&
	    (fcntl(hv->agent_fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(hv->console_fd, F_SETFL, O_NONBLOCK) < 0 ||
	     fcntl(hv->log_fd, F_SETFL, O_NONBLOCK) < 0 || fcntl(k->control, F_SETFL, O_NONBLOCK) < 0))
		r = -errno;
	return r;
}

static int begin_vmm(const struct vmcfg *cfg, const struct ends *x, struct hv_jailing *ret, struct err *e)
{
	scoped_strv args = { 0 };
	struct hv_jailed j = { .jail = cfg->jail_path,
			       .policy = "vmm",
			       .small_pages = is_clone(cfg),
			       .fds = x->vmm,
			       .n_fds = x->n_vmm };
	int r = kvm_args(cfg, &args, e);

	if (r < 0)
		return r;
	j.argv = args.p;
	return hv_jailed_begin(&j, ret, e);
}

/* Both in one empty network namespace, which the caller leaves again. */
static int begin_both(const struct vmcfg *cfg, const struct ends *x, struct hv_jailing *fsd,
		      struct hv_jailing *vmm, struct err *e)
{
	scoped_fd own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int r;

	if (own < 0 || unshare(CLONE_NEWNET) < 0)
		return err_set(e, -errno, "an empty network namespace: %m");
	r = hv_fsd_begin(cfg, HV_FSD_PACKETS, x->fsd, fsd, e);
	if (r == 0)
		r = begin_vmm(cfg, x, vmm, e);
	if (setns(own, CLONE_NEWNET) < 0)
		return err_set(e, -errno, "back to the network namespace: %m");
	return r;
}

/* Both at the same time: each takes two execs. */
static int run(struct hv *hv, const struct vmcfg *cfg, const struct ends *x, struct err *e)
{
	struct hv_jailing fsd = HV_JAILING_NONE, vmm = HV_JAILING_NONE;
	scoped_str words = { 0 };
	int r = begin_both(cfg, x, &fsd, &vmm, e);

	if (r == 0)
		r = hv_jailed_finish(&fsd, &hv->helper, &hv->helper_fd, e);
	if (r == 0)
		r = hv_jailed_finish(&vmm, &hv->pid, &hv->pidfd, e);
	hv_jailed_drop(&fsd);
	hv_jailed_drop(&vmm);
	if (r < 0) {
		hv_child_last_words(hv->log_fd, &words);
		if (words.len > 0 && str_check(&words) == 0)
			return err_set(e, r, "the hypervisor did not start%s", words.p);
	}
	return r;
}

static int kvm_start(struct hv *hv, const struct vmcfg *cfg, struct err *e)
{
	struct ends x;
	struct kvm *k;
	size_t n = 0;
	int r;

	if (hv->priv)
		return err_set(e, -EALREADY, "the hypervisor was started before");
	memset(&x, 0xff, sizeof x); /* every fd is -1 */
	k = calloc(1, sizeof *k);
	if (!k)
		return err_set(e, -ENOMEM, "out of memory");
	k->control = -1;
	hv->priv = k;
	r = open_channels(hv, k, &x);
	if (r < 0)
		(void)err_set(e, r, "channels to the hypervisor: %m");
	if (r == 0) {
		x.vmm[KVM_FD_DEVICE] = open(DEVICE, O_RDWR | O_CLOEXEC);
		r = x.vmm[KVM_FD_DEVICE] < 0 ? err_set(e, -errno, DEVICE ": %m") : 0;
	}
	if (r == 0)
		r = kvm_open_files(cfg, x.vmm + KVM_FD_FILES, &n, e);
	x.n_vmm = KVM_FD_FILES + n;
	if (r == 0)
		r = run(hv, cfg, &x, e);
	ends_close(&x);
	return r;
}

/* ---- control ---- */

/* Receives one message within the time; the guest may be any of those who made it. */
static int receive(struct kvm *k, uint64_t until_ns, struct vmmctl_answer *a, struct err *e)
{
	uint64_t now = mark_now_ns();
	size_t n_fds = 0;
	ssize_t n;
	int r;

	r = io_wait_readable(k->control, now < until_ns ? (int)((until_ns - now) / NS_PER_MS) : 0);
	if (r < 0)
		return err_set(e, r, "the hypervisor did not answer in time");
	n = io_recv_fds(k->control, a, sizeof *a, NULL, 0, &n_fds);
	if (n != (ssize_t)sizeof *a || a->magic != VMMCTL_MAGIC) {
		scope_close(&k->control); /* it has ended, or speaks something else */
		k->control = -1;
		return err_set(e, n < 0 ? (int)n : -EPIPE, "the hypervisor's control connection is closed");
	}
	a->text[sizeof a->text - 1] = '\0';
	if (a->verb == VMMCTL_PORT_OPEN)
		k->port_open = true;
	return 0;
}

static int command(struct hv *hv, enum vmmctl_verb verb, const int *fds, size_t n_fds, int timeout_ms,
		   struct err *e)
{
	const struct vmmctl_request q = { .magic = VMMCTL_MAGIC, .verb = verb };
	uint64_t until = mark_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	struct vmmctl_answer a;
	struct kvm *k = hv->priv;
	int r;

	if (!k || hv->pid < 0)
		return err_set(e, -ESRCH, "the hypervisor does not run");
	if (k->control < 0)
		return err_set(e, -EPIPE, "the hypervisor's control connection is closed");
	r = io_send_fds(k->control, &q, sizeof q, fds, n_fds);
	if (r == -EAGAIN)
		return err_set(e, -EBUSY, "the hypervisor takes no requests: %u are not answered", k->owed);
	if (r < 0)
		return err_set(e, r, "the hypervisor's control connection: %m");
	k->owed++;
	for (unsigned unasked = 0; unasked < EVENTS_MAX;) {
		r = receive(k, until, &a, e);
		if (r < 0)
			return r;
		if (a.verb >= VMMCTL_N) {
			unasked++;
			continue;
		}
		if (--k->owed > 0)
			continue; /* the answer to an earlier request */
		if (a.verb != verb)
			return err_set(e, -EPROTO, "the hypervisor answers what was not asked");
		return a.result < 0 ? err_import(e, a.result, a.text, strlen(a.text)) : 0;
	}
	return err_set(e, -EPROTO, "the hypervisor talks without being asked");
}

static int kvm_pause(struct hv *hv, struct err *e)
{
	return command(hv, VMMCTL_PAUSE, NULL, 0, HV_TIMEOUT_MS, e);
}

static int kvm_resume(struct hv *hv, struct err *e)
{
	return command(hv, VMMCTL_RESUME, NULL, 0, HV_TIMEOUT_MS, e);
}

/* ---- templates ---- */

/* Paths and the command line stand for themselves; the template's own place is given anew to each clone. */
static int kvm_shape(const struct vmcfg *cfg, struct str *to, struct err *e)
{
	const char *const files[] = { cfg->hypervisor_path, cfg->kernel, hv_shape_os(cfg) };
	scoped_str words = { 0 };
	struct vmcfg plain = *cfg;
	scoped_strv args = { 0 };
	int r;

	hv_cmdline_shape(cfg->cmdline, &words);
	if (str_check(&words) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	plain.cmdline = words.p;
	plain.template_dir = NULL;
	plain.template_make = false;
	plain.merge = false;
	hv_shape_layers(cfg, to);
	r = hv_shape_files(files, ARRAY_LEN(files), to, e);
	if (r == 0)
		r = kvm_args(&plain, &args, e);
	return r == 0 ? hv_shape_args(&args, to, e) : r;
}

static int wait_port(struct kvm *k, int timeout_ms, struct err *e)
{
	uint64_t until = mark_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	struct vmmctl_answer a;
	int r = 0;

	while (r == 0 && !k->port_open)
		r = receive(k, until, &a, e);
	return r;
}

static int kvm_save(struct hv *hv, const char *dir, int timeout_ms, int rest_ms, struct err *e)
{
	scoped_free char *path = str_fmt("%s/" KVM_STATE_FILE, dir);
	struct kvm *k = hv->priv;
	scoped_fd fd = -1;
	int r;

	if (!k || hv->pid < 0)
		return err_set(e, -ESRCH, "the hypervisor does not run");
	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, -errno, "template %s: %m", path);
	r = wait_port(k, timeout_ms, e);
	/* What the guest still does by itself each clone would do again, on pages of its own: it marks all
	 * its free memory as reported, within some seconds (docs/memory.md). */
	if (r == 0 && proc_wait_end(hv->pidfd, rest_ms) != -ETIMEDOUT)
		r = err_set(e, -ESRCH, "the hypervisor ended before its state was saved");
	if (r == 0)
		r = kvm_pause(hv, e);
	if (r == 0)
		r = command(hv, VMMCTL_SAVE, &fd, 1, SAVE_TIMEOUT_MS, e);
	if (r < 0)
		return r;
	hv_child_kill(hv->pidfd); /* the state is written; the memory is in the page cache, also after this */
	r = proc_wait_end(hv->pidfd, HV_TIMEOUT_MS);
	return r < 0 ? err_set(e, r, "the end of the hypervisor: %m") : 0;
}

static int kvm_learn(const struct hv *hv, const char *dir, struct err *e)
{
	return hot_learn(hv->pid, dir, e);
}

/* ---- another owner ---- */

static int kvm_control(const struct hv *hv)
{
	const struct kvm *k = hv->priv;

	return k ? k->control : -1;
}

/* What cor-vmm has said unasked may still wait in it. */
static int kvm_attach(struct hv *hv, int control_fd)
{
	struct kvm *k;

	if (fcntl(control_fd, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	k = calloc(1, sizeof *k);
	if (!k)
		return -ENOMEM;
	k->control = control_fd;
	hv->priv = k;
	return 0;
}

/* ---- the end ---- */

/* cor-fsd ends with it. */
static void kvm_stop(struct hv *hv)
{
	if (hv->pid > 0)
		hv_child_kill(hv->pidfd);
}

static void kvm_why(struct hv *hv, int wait_status, struct str *to)
{
	hv_child_why("cor-vmm", wait_status, hv->log_fd, to);
}

static void kvm_fini(struct hv *hv)
{
	struct kvm *k = hv->priv;

	if (k)
		scope_close(&k->control);
	free(k);
	hv->priv = NULL;
}

const struct hv_ops kvm_ops = {
	.name = "kvm",
	.minds_share = true,
	.start = kvm_start,
	.pause = kvm_pause,
	.resume = kvm_resume,
	.shape = kvm_shape,
	.save = kvm_save,
	.learn = kvm_learn,
	.control = kvm_control,
	.attach = kvm_attach,
	.stop = kvm_stop,
	.why = kvm_why,
	.fini = kvm_fini,
};
