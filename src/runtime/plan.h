/* plan.h - from a checked config.json and the host's settings to what monitor and agent are given.
 *
 * Pure decisions plus the look-ups they need (does a bind source exist, is it a directory, does KVM
 * work): nothing is created here. Everything in the result lives in the arena, the spec or the
 * settings, which must outlive it. */
#ifndef RUNTIME_PLAN_H
#define RUNTIME_PLAN_H

#include "cfg/settings.h"
#include "oci/spec.h"
#include "sys/cgroup.h"
#include "wire/plan.h"

struct plan_in {
	const struct spec *spec;
	const struct settings *settings;
	const char *id;
	const char *bundle;         /* absolute, resolved */
	const char *state_dir;      /* absolute */
	const char *console_socket; /* or NULL */
	const char *libexecdir;     /* where our own helpers are */
	bool pty_given, foreground, marks;
	/* The root as a stack of images instead of root.path, which is not looked at then: absolute paths of
	 * EROFS files, the bottom one first. None: the bundle's root.path. */
	struct pack_strs layers;
	struct pack_strs verity; /* of each its fs-verity digest, "" = not looked at; or none at all */
	uint64_t upper;          /* msg_ctr.upper */
};

/* Container, binds, namespaces and VM. Not filled: ctr.hook_state (it depends on what is made later).
 * Warnings are for the log. */
int must_check plan_make(const struct plan_in *in, struct arena *a, struct mon_plan *ret,
			 struct strv *warnings, struct err *e);

/* The part of it that the agent is told, binds and namespaces. ret->id is set. */
int must_check plan_ctr(const struct plan_in *in, struct arena *a, struct mon_plan *ret, struct err *e);

/* The absolute, resolved container root of a bundle, in the arena. */
int must_check plan_root(const struct spec *s, const char *bundle, struct arena *a, char **ret,
			 struct err *e);

/* One process (the container's or an exec session's). The seccomp program is not filled. */
int must_check plan_process(const struct spec_process *p, struct arena *a, struct msg_process *ret,
			    struct err *e);

/* The guest's limits (create, update). */
int must_check plan_resources(const struct spec_resources *r, struct arena *a, struct msg_resources *ret,
			      struct err *e);

/* The host's limits of the VM: what the container may have plus `overhead` bytes of memory for the VM
 * itself. Device lists are in the arena. */
int must_check plan_host_limits(const struct spec_resources *r, uint64_t overhead, struct arena *a,
				struct cgroup_limits *ret, struct err *e);

/* Memory that a VM needs on the host beyond its guest memory: QEMU, its threads, page tables. */
#define PLAN_VMM_OVERHEAD (128ull << 20)

/* plan_vm.c: sizes and files of the VM. */
int must_check plan_vm(const struct plan_in *in, struct arena *a, struct vmcfg *ret, struct strv *warnings,
		       struct err *e);
/* Whether the settings ask for QEMU: by name, or by one of its keys. */
bool plan_wants_qemu(const struct settings *s);
/* Whether a VM by these settings has its files from cor-fsd, not from QEMU by 9p. Asks whether KVM works. */
bool plan_serves_files(const struct settings *s, struct arena *a);
/* cor-vmm and its companions, beside this program or in libexecdir: their paths, and the driver. */
int must_check plan_find_vmm(const char *libexecdir, struct arena *a, struct vmcfg *ret, struct err *e);
/* The QEMU program: qemu.path, or the first one in the usual directories. In the arena. */
int must_check plan_find_qemu(const struct settings *s, struct arena *a, char **ret, struct err *e);

#endif
