/* hyper.h - the one seam for hypervisors: everything above it works with any of them.
 *
 * A driver is a table (struct hv_ops) and a state (struct hv); hv_new() picks it from the vmcfg.
 * The VM is a child process of the caller, in the caller's namespaces and cgroup at the time of
 * start, and dies with it (PDEATHSIG). All calls are made on the monitor's thread; those that talk
 * to the hypervisor may block up to HV_TIMEOUT_MS. */
#ifndef HYPER_HYPER_H
#define HYPER_HYPER_H

#include <sys/types.h>

#include "base/err.h"
#include "wire/plan.h"

#define HV_TIMEOUT_MS   5000
#define HV_HELPER_SHARE "/"
#define KVM_VCPUS_MAX   64u /* of cor-vmm */

struct hv;

struct hv_ops {
	const char *name;
	bool minds_share; /* the VM ends by itself when its helper does; else the caller sees to it */
	/* Starts the VM: fills pid, pidfd, agent_fd, console_fd, log_fd. Returns when the process was
	 * exec'ed (an exec failure is reported here); does not wait for the guest. */
	int (*start)(struct hv *hv, const struct vmcfg *cfg, struct err *e);
	int (*pause)(struct hv *hv, struct err *e);
	int (*resume)(struct hv *hv, struct err *e);
	/* Text that names everything in cfg that shapes the machine's state: two equal texts, and the same
	 * files behind the paths in them, make equal templates. What a clone is given anew is left out. */
	int (*shape)(const struct vmcfg *cfg, struct str *to, struct err *e);
	/* Of a VM started with cfg->template_make: waits until the agent waits for its first message, and for
	 * rest_ms more if that pays with this driver, writes the machine's state into dir and ends the VM,
	 * whose process has then ended. */
	int (*save)(struct hv *hv, const char *dir, int timeout_ms, int rest_ms, struct err *e);
	/* Of a clone: writes the pages of the template that it has written so far into the template's
	 * directory, as a hint for the next clones. NULL: the driver takes no such hint. */
	int (*learn)(const struct hv *hv, const char *dir, struct err *e);
	/* The driver's own channel to the hypervisor's process, for another process that attaches it;
	 * borrowed. */
	int (*control)(const struct hv *hv);
	/* Of a VM that another process started: takes its control channel, in the state it has after start.
	 */
	int (*attach)(struct hv *hv, int control_fd);
	/* Of a VM that was started with cfg->forkable and is paused: makes another one that is its copy in
	 * all but channels and shared directory (`share`, a descriptor; borrowed), and goes on by itself.
	 * Fills *copy, which is new; its process is the caller's child. After an error the caller frees
	 * *copy. -EOPNOTSUPP: there is no copy, and the VM is as it was; else nobody knows how it is. NULL:
	 * none can be copied. */
	int (*fork)(struct hv *hv, int share, struct hv *copy, struct err *e);
	/* Ends it at once (SIGKILL to the VM's process); reaping stays with the caller. */
	void (*stop)(struct hv *hv);
	/* After the VM's process ended: says why in words (its own last messages, exit status). */
	void (*why)(struct hv *hv, int wait_status, struct str *to);
	void (*fini)(struct hv *hv);
};

struct hv {
	const struct hv_ops *ops;
	pid_t pid;     /* -1 = not started */
	int pidfd;     /* readable when the process ended; -1 */
	pid_t helper;  /* a second process: it ends with the VM, and the VM with it; -1 = none */
	int helper_fd; /* its pidfd: setns() by it leads to the mount namespace in which the VM has its shared
			  directory, as HV_HELPER_SHARE. -1: it is the caller's, and cfg->share; or the VM
			  waited, and the namespace is known from its keeper (hyper/pool.h) */
	int agent_fd;  /* the agent channel, a byte stream; -1 */
	int console_fd; /* the guest's console output, read by the caller; -1 */
	int log_fd;     /* the hypervisor's own stderr, read by the caller; -1 */
	bool copied;    /* it is a copy: hv_ops.fork */
	int keeper; /* connection to the process that is the VM's parent (hyper/pool.h); -1 = the caller is */
	void *priv;
};

/* The driver's table, for questions about a cfg without a VM; NULL = there is none. */
const struct hv_ops *hv_ops_of(const struct vmcfg *cfg);
/* A driver for cfg->hypervisor. hv_free() ends what hv_start() began, reaps, closes, frees; NULL is fine. */
int must_check hv_new(const struct vmcfg *cfg, struct hv **ret, struct err *e);
void hv_free(struct hv *hv);
/* After pidfd became readable: the wait status of the VM's process, which is then gone. One that can't be
 * known any more, because its keeper was killed with it, is SIGKILL. */
int hv_reap(struct hv *hv);
/* Closes the channels to a VM that another process has attached; the process stays the caller's child. */
void hv_let_go(struct hv *hv);
#define hv_start(hv, cfg, e) ((hv)->ops->start((hv), (cfg), (e)))

/* Drivers: opens cfg->template_dir for openat(). All files of a clone come from one such descriptor, since
 * another template may get that name in any moment: memory of one and state of the other would be a machine
 * that never was. The caller closes *ret. -EINVAL without a template. */
int must_check hv_template_open(const struct vmcfg *cfg, int *ret, struct err *e);

/* Runs a few guest instructions on /dev/kvm (a HLT loop entry, one OUT): the only proof that KVM
 * works. `dev`: "/dev/kvm". 0 = usable. Otherwise the error says what failed: -ENOENT no device,
 * -EACCES no right, -ENODEV it opened but could not run guest code (with the exit reason),
 * -ETIMEDOUT it opened but did not finish, -ECHILD the probe was killed.
 * Bounded: at most `timeout_ms`. Costs about a millisecond where KVM works. */
int must_check kvm_probe(const char *dev, int timeout_ms, struct err *e);
/* The same, with the verdict kept in the directory `dir` (only root may be able to write there): asked again
 * when the device node is another, or the host was restarted. */
int must_check kvm_probe_known(const char *dev, int timeout_ms, int dir, struct err *e);

#endif
