/* plan.h - what `cor create` hands to the monitor: everything that was parsed and decided, as one
 * flat record in a sealed memfd. The monitor parses no text and looks nothing up. */
#ifndef WIRE_PLAN_H
#define WIRE_PLAN_H

#include "wire/msg.h"

enum plan_hypervisor { PLAN_HV_QEMU, PLAN_HV_KVM, PLAN_HV_N };

/* A file that holds a file system (EROFS; of a disk: ext4), as it was when the plan was made: whoever opens
 * it finds the same or refuses it. */
struct vm_layer {
	char *path;    /* absolute; a regular file */
	char *uuid;    /* of the file system: 32 hex digits */
	uint64_t size; /* bytes; of a layer a multiple of LAYER_ALIGN */
	char *verity;  /* its fs-verity digest, 64 hex digits; NULL = not looked at */
};

/* One virtual machine. What a template is keyed by, too: hyper/template.h. */
struct vmcfg {
	uint32_t hypervisor; /* enum plan_hypervisor */
	char *hypervisor_path;
	/* cor-jail and cor-fsd: the share is a virtio-fs that cor-fsd serves. NULL with PLAN_HV_QEMU: a 9p of
	 * QEMU's own. */
	char *jail_path, *fsd_path;
	char *hypervisor_preload; /* shared object for its LD_PRELOAD, NULL = none (hyper/qemu_fix.c) */
	struct pack_strs hypervisor_params; /* extra arguments: vm.hypervisor.parameters */
	bool kvm;                           /* KVM passed its probe; else software emulation */
	char *kernel;                       /* uncompressed ELF */
	char *initrd;                       /* initramfs; NULL: the mini-OS is the first of the layers */
	char *cmdline;                      /* whole kernel command line */
	uint64_t memory;                    /* bytes, a multiple of 1 MiB */
	uint32_t vcpus;
	/* Read-only pmem devices: the mini-OS, which the kernel mounts as its root, if there is no initramfs;
	 * then the images that are the container's root, the bottom one first. Without any of those its root
	 * is the share's. */
	PACK_RECS_OF(struct vm_layer) layers;
	/* A disk for what the container writes over the layers: each VM has a copy of this file, in the same
	 * directory and without a name. disk.path == NULL: none. */
	struct vm_layer disk;
	bool merge;         /* offer its memory to the host's KSM: ksm.domain */
	char *share;        /* directory shared with the guest (see monitor/share.h) */
	char *template_dir; /* a checked template of this shape to clone from; NULL = boot (hyper/template.h)
			     */
	bool template_make; /* instead: boot with the memory in template_dir, to be saved there */
	bool forkable;      /* this VM is to be copied: hv_ops.fork */
	bool waits;         /* this VM has no container yet: monitor/keeper.c */
};

/* How many of the layers are not the container's: 1 or 0. */
static inline size_t vmcfg_os_layers(const struct vmcfg *cfg)
{
	return !cfg->initrd && cfg->layers.n;
}

/* Whether such a VM can be saved and cloned: QEMU saves none whose files another process serves. */
static inline bool vmcfg_can_clone(const struct vmcfg *cfg)
{
	return cfg->hypervisor != PLAN_HV_QEMU || !cfg->fsd_path;
}

/* A bind mount's host side. */
struct plan_bind {
	char *name;   /* entry in the share: "m0" */
	char *source; /* absolute host path, resolved */
	char *dest;   /* inside the container, for the host's view of the root */
	bool is_file;
	bool readonly;
	bool recursive;
	/* As /proc/PID/uid_map and gid_map want them: owners are mapped from the left to the middle column.
	 * NULL: they are as on the host. */
	char *uid_map, *gid_map;
	bool map_recursive; /* in the mounts below it, too */
};

struct plan_ns {
	uint64_t type; /* CLONE_NEW* */
	char *path;    /* NULL = a new one */
};

struct mon_plan {
	uint32_t version; /* PROTO_VERSION */
	bool vm_only; /* enough to start the VM: the whole plan follows in MSG_S_PLAN on the sync socket */
	char *id;
	char *state_dir; /* absolute */
	char *root;      /* container root, absolute, resolved; NULL: it is made of vm.layers, in the guest */
	bool root_readonly;
	PACK_RECS_OF(struct plan_bind) binds;
	PACK_RECS_OF(struct plan_ns) namespaces; /* host namespaces of the monitor and the VM */
	bool has_oom_score_adj;
	int64_t oom_score_adj;
	char *selinux_label;
	char *console_socket; /* path, or NULL */
	bool pty_given;       /* fd 0 is a pty slave made by the caller */
	bool foreground;      /* the sync socket's end kills the container */
	bool log, log_json;   /* PLAN_FD_LOG is the caller's log file; else /dev/null */
	bool pool;            /* take a VM that waits, if there is one: hyper/pool.h */
	bool keeper;          /* keep a VM that waits (monitor/keeper.c); ctr is what it rehearses */
	bool learn;           /* a keeper's: instead of waiting it writes down what the rehearsal touched */
	bool marks;           /* write phase marks to state_dir/marks */
	uint32_t boot_timeout_ms; /* from the VM's start to the agent's first answer */
	struct vmcfg vm;
	struct msg_ctr ctr;
};

extern const struct pack_rec rec_mon_plan, rec_vmcfg;

/* What a waiting VM rehearses: a copy of the monitor's program, with one argument. */
#define REHEARSAL_PROGRAM "/bin/rehearsal"
#define REHEARSAL_WORD    "--rehearsal"
/* A file for it, of zeros: more than is read ahead in one go, and than one node of the page cache's tree
 * holds. */
#define REHEARSAL_DATA      "/bin/data"
#define REHEARSAL_DATA_SIZE (1u << 20)

/* Fds that the monitor finds open, beside stdio. */
enum plan_fd { PLAN_FD_PLAN = 3, PLAN_FD_SYNC, PLAN_FD_STATE, PLAN_FD_LOG, PLAN_FD_N };

#endif
