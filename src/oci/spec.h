/* spec.h - config.json of the OCI runtime-spec 1.3 as C structs.
 *
 * One struct per section, names as in the spec with words split by '_'. Everything a struct
 * points to lives in the arena of the `struct spec` it came from and dies with spec_fini().
 *
 * How absence is said:
 *   char *                NULL = absent. An empty string in the document stays "" unless said otherwise.
 *   lists {p, n}          n == 0 = absent or empty (the spec never tells these apart); where it
 *                         matters a has_x stands beside it
 *   numbers, objects      valid only if has_x is true; a number without has_x is 0 by default
 * JSON null for an optional member counts as absent (Go callers write it).
 *
 * What parsing does beyond copying: names with a fixed set of values (namespace, rlimit, device
 * type, policy...) become the kernel's numbers, mount options become flags, mount destinations and
 * masked/readonly paths become absolute and lexically clean. It refuses wrong types, values out
 * of range and unknown names, naming the field: "config.json: process.rlimits[2].soft: must be
 * a non-negative integer, found a string". Unknown properties are ignored, as the spec demands. What
 * a container in a VM can't honour is refused by validate.h, which callers run afterwards.
 *
 * Called by runtime/ (create, run, exec, update). Trusts nothing in the text. Never touches the
 * file system except in spec_load(). */
#ifndef OCI_SPEC_H
#define OCI_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/* Longest document: a config.json of 1 MiB is ten times the largest that Docker writes. */
#define SPEC_TEXT_MAX (1u << 20)

/* An array of elements; the same layout as wire's PACK_RECS_OF, so that plans can be filled by loops. */
#define SPEC_LIST(type)                                                                                      \
	struct {                                                                                             \
		type *p;                                                                                     \
		size_t n;                                                                                    \
	}

/* p is NULL-terminated when not NULL, so that it can be an argv. */
struct spec_strs {
	char **p;
	size_t n;
};

struct spec_kv {
	char *key, *value;
};

struct spec_u32s {
	uint32_t *p;
	size_t n;
};

struct spec_idmap {
	uint32_t container_id, host_id, size;
};

struct spec_box {
	uint64_t height, width; /* 0..65535 */
};

struct spec_rlimit {
	uint32_t type; /* RLIMIT_* */
	uint64_t soft, hard;
};

/* Sets of capabilities: bit n = capability n. */
struct spec_caps {
	uint64_t bounding, effective, inheritable, permitted, ambient;
	struct spec_strs unknown; /* names this build doesn't know, each once, the first 16: warn */
};

struct spec_user {
	uint32_t uid, gid;
	bool has_umask;
	uint32_t umask;
	struct spec_u32s additional_gids;
	char *name; /* "USER[:GROUP]" for the container's own files to explain, instead of the numbers; NULL
		       or not empty */
};

struct spec_scheduler {
	uint32_t policy; /* SCHED_* */
	int64_t nice, priority;
	uint64_t flags;                     /* SCHED_FLAG_* */
	uint64_t runtime, deadline, period; /* ns */
};

struct spec_ioprio {
	uint32_t class;    /* IOPRIO_CLASS_* */
	uint32_t priority; /* 0..7 */
};

struct spec_process {
	bool terminal;
	bool has_console_size; /* meaningless unless terminal */
	struct spec_box console_size;
	char *cwd; /* never NULL in a parsed process; absolute */
	struct spec_strs env, args;
	SPEC_LIST(struct spec_rlimit) rlimits; /* no type twice */
	char *apparmor_profile;                /* NULL or not empty */
	bool has_capabilities;
	struct spec_caps capabilities;
	bool no_new_privileges;
	bool has_oom_score_adj;
	int64_t oom_score_adj;
	bool has_scheduler;
	struct spec_scheduler scheduler;
	char *selinux_label; /* NULL or not empty */
	bool has_io_priority;
	struct spec_ioprio io_priority;
	bool has_exec_cpu_affinity;
	char *affinity_initial, *affinity_final; /* CPU lists, NULL or not empty */
	struct spec_user user;
};

struct spec_root {
	char *path; /* as written: absolute or relative to the bundle */
	bool readonly;
};

/* One mount with its options resolved. Apply as: mount (or bind), remount with flags_set if it is a
 * bind, propagation, then mount_setattr(AT_RECURSIVE) when rec_set or rec_clear is not 0. */
struct spec_mount {
	char *destination;        /* absolute, lexically clean; never "/" */
	char *type;               /* NULL = absent */
	char *source;             /* NULL = absent; as written: a bind source may be relative to the bundle */
	struct spec_strs options; /* as written */
	bool bind;                /* "bind" or "rbind" (or type "bind") */
	bool recursive;           /* "rbind" */
	uint64_t flags_set, flags_clear; /* MS_* without MS_BIND, MS_REC and propagation; disjoint */
	uint64_t propagation;        /* MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, perhaps with MS_REC;
					the last one given; 0 = none */
	uint64_t rec_set, rec_clear; /* MOUNT_ATTR_*: attr_set and attr_clr of mount_setattr(2) */
	char *data;                  /* options of the file system, comma-separated, or NULL */
	bool tmpcopyup;
	bool idmap, ridmap;
	bool has_uid_mappings, has_gid_mappings;
	SPEC_LIST(struct spec_idmap) uid_mappings;
	SPEC_LIST(struct spec_idmap) gid_mappings;
};

struct spec_hook {
	char *path;            /* absolute */
	struct spec_strs args; /* empty = {path} */
	struct spec_strs env;
	bool has_timeout;
	uint32_t timeout; /* seconds, > 0 */
};

enum spec_hook_kind {
	HOOK_PRESTART,
	HOOK_CREATE_RUNTIME,
	HOOK_CREATE_CONTAINER,
	HOOK_START_CONTAINER,
	HOOK_POSTSTART,
	HOOK_POSTSTOP,
	HOOK_KIND_N
};

typedef SPEC_LIST(struct spec_hook) spec_hook_list;

struct spec_hooks {
	spec_hook_list lists[HOOK_KIND_N];
};

struct spec_namespace {
	uint64_t type; /* CLONE_NEW* */
	char *path;    /* absolute; NULL = a new one ("" counts as absent) */
};

struct spec_time_offset {
	char *clock; /* "monotonic" or "boottime" */
	int64_t secs;
	uint32_t nanosecs;
};

struct spec_device {
	char *path;           /* absolute, clean */
	uint32_t type;        /* S_IFCHR ("c", "u"), S_IFBLK, S_IFIFO */
	int64_t major, minor; /* 0 for a fifo */
	bool has_file_mode, has_uid, has_gid;
	uint32_t file_mode, uid, gid;
};

struct spec_net_device {
	char *host_name; /* the key */
	char *name;      /* NULL = keep */
};

struct spec_device_rule {
	bool allow;
	uint32_t type;        /* 'a', 'c', 'b' */
	int64_t major, minor; /* -1 = any */
	uint32_t access;      /* bits 1 r, 2 w, 4 m; absent = all three */
};

struct spec_memory {
	bool has_limit, has_reservation, has_swap, has_kernel, has_kernel_tcp, has_swappiness;
	int64_t limit, reservation, swap, kernel, kernel_tcp; /* bytes, -1 = unlimited, 0 = as absent */
	uint64_t swappiness;
	bool has_disable_oom_killer, disable_oom_killer;
	bool has_use_hierarchy, use_hierarchy;
	bool has_check_before_update, check_before_update;
};

struct spec_cpu {
	bool has_shares, has_quota, has_burst, has_period, has_rt_runtime, has_rt_period, has_idle;
	uint64_t shares;        /* has_shares implies shares != 0: Docker writes 0 for "unset" */
	int64_t quota;          /* us; < 0 = no limit. has_quota implies quota != 0 */
	uint64_t burst, period; /* us; has_period implies period != 0 */
	int64_t rt_runtime;     /* us */
	uint64_t rt_period;
	int64_t idle;
	char *cpus, *mems; /* lists ("0-3,7"), NULL or not empty */
};

struct spec_weight_device {
	int64_t major, minor;
	bool has_weight, has_leaf_weight;
	uint32_t weight, leaf_weight;
};

struct spec_throttle_device {
	int64_t major, minor;
	uint64_t rate;
};

struct spec_block_io {
	bool has_weight, has_leaf_weight; /* imply a value of 10..1000: 0 counts as absent */
	uint32_t weight, leaf_weight;
	SPEC_LIST(struct spec_weight_device) weight_device;
	SPEC_LIST(struct spec_throttle_device) read_bps;
	SPEC_LIST(struct spec_throttle_device) write_bps;
	SPEC_LIST(struct spec_throttle_device) read_iops;
	SPEC_LIST(struct spec_throttle_device) write_iops;
};

struct spec_hugepage {
	char *page_size; /* "2MB" */
	uint64_t limit;  /* bytes */
};

struct spec_net_priority {
	char *name;
	uint32_t priority;
};

struct spec_network {
	bool has_class_id;
	uint32_t class_id;
	SPEC_LIST(struct spec_net_priority) priorities;
};

struct spec_rdma {
	char *device; /* the key */
	bool has_hca_handles, has_hca_objects;
	uint32_t hca_handles, hca_objects;
};

struct spec_resources {
	SPEC_LIST(struct spec_device_rule) devices; /* in order */
	bool has_memory;
	struct spec_memory memory;
	bool has_cpu;
	struct spec_cpu cpu;
	bool has_pids;
	int64_t pids_limit; /* < 0 = unlimited; 0 is a limit */
	bool has_block_io;
	struct spec_block_io block_io;
	SPEC_LIST(struct spec_hugepage) hugepage_limits;
	bool has_network;
	struct spec_network network;
	SPEC_LIST(struct spec_rdma) rdma;
	SPEC_LIST(struct spec_kv) unified; /* cgroup v2 file -> content */
};

struct spec_intel_rdt {
	char *clos_id, *l3_cache_schema, *mem_bw_schema;
	struct spec_strs schemata;
	bool enable_monitoring, enable_cmt, enable_mbm;
};

struct spec_memory_policy {
	uint32_t mode;  /* MPOL_* */
	uint64_t flags; /* MPOL_F_* */
	char *nodes;    /* list, or NULL */
};

struct spec_seccomp_arg {
	uint32_t index; /* 0..5 */
	uint64_t value, value_two;
	char *op; /* "SCMP_CMP_*" */
};

struct spec_seccomp_rule {
	struct spec_strs names;
	char *action; /* "SCMP_ACT_*" */
	bool has_errno_ret;
	uint32_t errno_ret;
	SPEC_LIST(struct spec_seccomp_arg) args;
};

/* Names stay text here: seccomp.h compiles the section. */
struct spec_seccomp {
	char *default_action;
	bool has_default_errno_ret;
	uint32_t default_errno_ret;
	struct spec_strs architectures, flags;
	bool has_flags;                          /* runc's defaults apply only if the member is absent */
	char *listener_path, *listener_metadata; /* NULL or not empty */
	SPEC_LIST(struct spec_seccomp_rule) syscalls;
};

struct spec_linux {
	SPEC_LIST(struct spec_namespace) namespaces; /* no type twice */
	SPEC_LIST(struct spec_idmap) uid_mappings;
	SPEC_LIST(struct spec_idmap) gid_mappings;
	SPEC_LIST(struct spec_time_offset) time_offsets;
	SPEC_LIST(struct spec_device) devices;
	SPEC_LIST(struct spec_net_device) net_devices;
	char *cgroups_path; /* NULL or not empty */
	bool has_resources;
	struct spec_resources resources;
	bool has_intel_rdt;
	struct spec_intel_rdt intel_rdt;
	bool has_memory_policy;
	struct spec_memory_policy memory_policy;
	SPEC_LIST(struct spec_kv) sysctl; /* keys with '.' between parts, as written otherwise */
	bool has_seccomp;
	struct spec_seccomp seccomp;
	uint64_t rootfs_propagation; /* MS_SHARED..., with MS_REC for the r* forms; 0 = absent */
	struct spec_strs masked_paths, readonly_paths; /* absolute, clean */
	char *mount_label;                             /* NULL or not empty */
	bool has_personality;
	uint64_t personality; /* PER_LINUX or PER_LINUX32 */
};

struct spec_iomem {
	uint64_t first_gfn, first_mfn, nr_mfns;
};

/* Objects that Go callers write with empty strings count as absent: their strings are NULL. */
struct spec_vm {
	char *hypervisor_path; /* absolute */
	struct spec_strs hypervisor_parameters;
	char *kernel_path; /* absolute */
	struct spec_strs kernel_parameters;
	char *kernel_initrd;        /* absolute */
	char *image_path;           /* absolute */
	char *image_format;         /* "raw", "qcow2", ...; NULL = raw */
	char *device_tree;          /* hwConfig.deviceTree, absolute */
	bool has_vcpus, has_memory; /* imply values > 0 */
	uint32_t vcpus;
	uint64_t memory; /* bytes */
	struct spec_strs dtdevs;
	SPEC_LIST(struct spec_iomem) iomems;
	struct spec_u32s irqs;
};

struct spec {
	struct arena mem;
	char *text; /* the document as read by spec_load(): the bundle's snapshot. NULL otherwise */
	size_t text_len;
	char *oci_version;
	bool has_process;
	struct spec_process process;
	bool has_root;
	struct spec_root root;
	char *hostname, *domainname;         /* NULL or not empty */
	SPEC_LIST(struct spec_mount) mounts; /* in order */
	struct spec_hooks hooks;
	SPEC_LIST(struct spec_kv) annotations; /* keys not empty, each once */
	bool has_linux;
	struct spec_linux lnx; /* `linux` is a macro of some compilers' modes */
	bool has_vm;
	struct spec_vm vm;
};

/* Parses a config.json of n bytes. On failure *ret is empty (spec_fini() is harmless) and the text
 * names the field. -EINVAL for the document's faults, -EFBIG over SPEC_TEXT_MAX, -ENOMEM. */
int must_check spec_parse(const char *json, size_t n, struct spec *ret, struct err *e);

/* Parses a bare `process` object (exec --process FILE): only ret->process is filled. */
int must_check spec_parse_process(const char *json, size_t n, struct spec *ret, struct err *e);

/* Parses a bare `linux.resources` object (update --resources FILE): only ret->lnx.resources. */
int must_check spec_parse_resources(const char *json, size_t n, struct spec *ret, struct err *e);

/* Reads and parses `file` of the bundle directory (NULL = "config.json"; an absolute file stands
 * alone). The text is kept in ret->text, so that later changes of the file don't matter. */
int must_check spec_load(const char *bundle, const char *file, struct spec *ret, struct err *e);

void spec_fini(struct spec *s); /* idempotent; a zeroed spec is fine */
#define scoped_spec __attribute__((cleanup(spec_fini))) struct spec

/* The value of an annotation, borrowed, or NULL. */
const char *spec_annotation(const struct spec *s, const char *key);
/* The namespace entry of this CLONE_NEW* type, borrowed, or NULL when the type isn't listed. */
const struct spec_namespace *spec_namespace(const struct spec *s, uint64_t type);

#endif
