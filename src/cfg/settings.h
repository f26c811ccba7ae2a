/* settings.h - what a host decides about its VMs, and how far a container may change it.
 *
 * Order: built-in < cor.conf < command line (--set KEY=VALUE) < config.json (vm section, annotations),
 * and each only where the key's row allows it. Host paths, extra command lines and switches are never
 * taken from config.json unless cor.conf opens them by name: `annotations.allow` for annotations
 * `dev.cor.KEY`, `spec.allow` for fields of the vm section. Nothing is ever read from inside a
 * container's root. Lists (vm.kernel_params, qemu.params) grow from one source to the next; everything
 * else is replaced. Single thread. */
#ifndef CFG_SETTINGS_H
#define CFG_SETTINGS_H

#include "cfg/opt.h"

#define SETTINGS_PREFIX   "dev.cor." /* of our annotations */
#define SETTINGS_FILE     "cor.conf"
#define SETTINGS_DISK_MAX (8ull << 40) /* bytes of a disk: image.disk */

enum settings_hypervisor { SETTINGS_HV_AUTO, SETTINGS_HV_QEMU, SETTINGS_HV_KVM, SETTINGS_HV_N };
enum settings_share { SETTINGS_SHARE_9P, SETTINGS_SHARE_VIRTIOFS, SETTINGS_SHARE_N };
enum settings_verity { SETTINGS_VERITY_OFF, SETTINGS_VERITY_ON, SETTINGS_VERITY_REQUIRE, SETTINGS_VERITY_N };
enum settings_accel { SETTINGS_ACCEL_AUTO, SETTINGS_ACCEL_KVM, SETTINGS_ACCEL_TCG, SETTINGS_ACCEL_N };

struct settings {
	struct arena mem;
	int hypervisor;           /* enum settings_hypervisor */
	uint64_t memory;          /* bytes of a VM whose container has no memory limit */
	uint64_t memory_min;      /* no VM gets less */
	uint64_t memory_max;      /* config.json can't ask for more; 0 = no limit of ours */
	uint64_t memory_overhead; /* added to the container's limit: the guest's kernel and agent */
	uint64_t vcpus;           /* of a container without a CPU limit */
	uint64_t vcpus_max;       /* config.json can't ask for more */
	const char *kernel;       /* absolute paths */
	const char *initrd;
	struct opt_strs kernel_params; /* each is added to the kernel's command line */
	uint64_t boot_timeout_ns;      /* from the VM's start to the agent's first answer */
	const char *qemu_path;         /* NULL = look in the usual directories */
	int accel;                     /* enum settings_accel */
	int share;                     /* enum settings_share */
	struct opt_strs qemu_params;   /* extra arguments */
	int log_level;                 /* 0 = auto, else enum log_level + 1 */
	bool template;                 /* clone VMs from templates */
	const char *template_dir;      /* where they are */
	const char *template_domain;   /* VMs of one domain share their template's pages */
	uint64_t template_max_size;    /* bytes of one domain's templates on disk; 0 = no limit */
	uint64_t template_rest_ns;     /* of a template's VM before it is saved */
	const char *ksm_domain;        /* VMs of this template_domain are open to KSM; NULL = none */
	uint64_t pool;                 /* VMs that wait, of each shape; 0 = none */
	bool pool_fork;                /* one waits and is copied */
	const char *image_store;       /* container images, made by cor-image */
	bool image_convert;            /* a bundle's root becomes images, too */
	int image_verity;              /* enum settings_verity */
	uint64_t image_writable;       /* bytes that a container of an image may write; 0 = half the memory */
	uint64_t image_disk;           /* instead: bytes of the disk that it writes to; 0 = none */
	const char *image_disk_dir;    /* where those disks are */
	struct opt_strs annotations_allow;
	struct opt_strs spec_allow;
	bool memory_asked, vcpus_asked; /* config.json named the VM's size itself */
};

/* The rows, for help, manual page, completion and tests. */
extern const struct opt_table settings_table;

/* Built-in values; `osdir` is where the mini-OS lies (kernel "vmlinux", initrd "initrd"). */
int must_check settings_init(struct settings *s, const char *osdir, struct err *e);
void settings_fini(struct settings *s); /* idempotent */
#define scoped_settings __attribute__((cleanup(settings_fini))) struct settings

/* Reads a settings file. A missing one is fine unless `required`. It must be a regular file that
 * only root (or the caller) can write. */
int must_check settings_load(struct settings *s, const char *path, bool required, struct err *e);
/* The same from text; `name` is for errors. */
int must_check settings_parse(struct settings *s, const char *name, const char *text, size_t n,
			      struct err *e);
/* One `KEY=VALUE` of the command line. */
int must_check settings_set_arg(struct settings *s, const char *arg, struct err *e);
/* One annotation; keys without our prefix are ignored. */
int must_check settings_set_annotation(struct settings *s, const char *key, const char *value, struct err *e);
/* One field of config.json's vm section, by its name there: "vm.kernel.path", "vm.kernel.initrd",
 * "vm.kernel.parameters", "vm.hypervisor.path", "vm.hypervisor.parameters", "vm.hwConfig.vcpus",
 * "vm.hwConfig.memory" (the value as decimal text). Call once per list element. */
int must_check settings_set_spec(struct settings *s, const char *field, const char *value, struct err *e);

/* May `key` (a row's name; for OPT_FROM_SPEC a name as in settings_set_spec()) be set from there?
 * An allow pattern is a key, a key's beginning at a dot ("vm.kernel" opens "vm.kernel.path"), or a
 * beginning followed by `*`. The allow lists themselves can't be opened. False for unknown keys. */
bool settings_allows(const struct settings *s, const char *key, enum opt_from from);

/* The VM's memory in bytes, a multiple of 1 MiB. `limit`: the container's memory limit in bytes, 0 =
 * none; `host_memory`: of the machine, 0 = unknown. A size that config.json names for the VM holds;
 * else the limit plus vm.memory_overhead, but not more than vm.memory_max or the host has; else
 * vm.memory. Never less than vm.memory_min. */
uint64_t settings_vm_memory(const struct settings *s, uint64_t limit, uint64_t host_memory);
/* The VM's number of virtual CPUs, at least 1. quota and period (microseconds) as in the spec, 0 =
 * none; `cpus`: how many CPUs the container's cpuset names, 0 = none; `host_cpus`: 0 = unknown. */
unsigned settings_vm_vcpus(const struct settings *s, uint64_t quota, uint64_t period, unsigned cpus,
			   unsigned host_cpus);

/* All values as a JSON object. */
void settings_json(struct str *to, const struct settings *s);

#endif
