/* msg.h - every message between our processes and the agent: types, records, direction.
 *
 * Four protocols share this codec:
 *   agent channel   monitor <-> agent, frames of frame.h multiplexed by mux.h (MSG_A_*)
 *   control socket  cor -> monitor, SOCK_SEQPACKET, one message a packet (MSG_C_*)
 *   start plan      cor -> monitor, one struct mon_plan in a sealed memfd (plan.h)
 *   keeper's socket  cor, monitor -> keeper of a waiting VM, SOCK_SEQPACKET (MSG_P_*, hyper/pool.h)
 * Numbers are fixed by PROTO_VERSION: any change of a record raises it.
 * Everything is checked by the receiver; the host trusts nothing the agent says. */
#ifndef WIRE_MSG_H
#define WIRE_MSG_H

#include "base/err.h"
#include "wire/pack.h"

#define PROTO_VERSION 9u
#define MSG_MAX       (4u << 20) /* longest record on the agent channel */

#define LAYERS_MAX  24u        /* of a container's root: as many as the VM's bus has room for */
#define LAYER_ALIGN (2u << 20) /* of a layer's size, in bytes: what a pmem device can be mapped by */

/* A word of the guest kernel's command line: the share is a virtio-fs; else it is 9p. */
#define WORD_VIRTIOFS "cor.share=virtiofs"

/* Another one, "cor.layers=N": the container's root is on N pmem devices. */
#define WORD_LAYERS "cor.layers="
/* And "cor.disk": there is a disk for what it writes. */
#define WORD_DISK "cor.disk"

enum msg_type {
	/* host -> agent; id = request number, answered by MSG_A_RESULT with the same id */
	MSG_A_HELLO = 1, /* msg_hello */
	MSG_A_CREATE,    /* msg_ctr: set up, process not run yet */
	MSG_A_START,     /* msg_ref: run the container's process */
	MSG_A_EXEC,      /* msg_exec */
	MSG_A_SIGNAL,    /* msg_signal */
	MSG_A_RESIZE,    /* msg_resize (no answer) */
	MSG_A_UPDATE,    /* msg_update */
	MSG_A_PS,        /* msg_ref, answered by MSG_A_PS_RESULT or MSG_A_RESULT */
	MSG_A_STATS,     /* msg_ref, answered by MSG_A_STATS_RESULT or MSG_A_RESULT */
	MSG_A_SHUTDOWN,  /* nothing; sync, then power off (no answer) */
	/* agent -> host */
	MSG_A_READY = 32,   /* msg_ready: the answer to HELLO */
	MSG_A_RESULT,       /* msg_result */
	MSG_A_PS_RESULT,    /* msg_ps */
	MSG_A_STATS_RESULT, /* msg_stats */
	MSG_A_EXITED, /* msg_exited: all output of the process is sent before it. The container's own comes
			 last, and also after a START that failed */
	MSG_A_MARK,   /* msg_mark */
	MSG_A_OOM,    /* msg_ref: the container's cgroup ran out of memory */
	/* both ways, id = stream number: the mux's own */
	MSG_DATA = 64, /* raw bytes */
	MSG_EOF,       /* nothing more comes */
	MSG_CREDIT,    /* u32: that many bytes more may be sent */
	MSG_CLOSED,    /* the receiver takes nothing more: drop, and report EPIPE to the source */
	/* cor -> monitor (control socket), each answered by MSG_C_RESULT or what is named */
	MSG_C_START = 128, /* nothing */
	MSG_C_SIGNAL,      /* msg_signal (proc 0 = the container's process) */
	MSG_C_EXEC,        /* fds: memfd with a packed msg_process, then stdin stdout stderr or the pty
			      slave; answered by RESULT, later EXITED; the connection's end kills it */
	MSG_C_PAUSE,       /* nothing */
	MSG_C_RESUME,      /* nothing */
	MSG_C_UPDATE,      /* fd: memfd with a packed msg_resources */
	MSG_C_PS,          /* nothing; answered by MSG_C_PS_RESULT with a memfd of a packed msg_ps */
	MSG_C_STATS,       /* nothing; answered by MSG_C_STATS_RESULT, msg_stats */
	MSG_C_RESIZE,      /* msg_resize of this connection's exec (no answer) */
	/* monitor -> cor */
	MSG_C_RESULT = 160, /* msg_result */
	MSG_C_EXITED,       /* msg_exited */
	MSG_C_PS_RESULT,
	MSG_C_STATS_RESULT,
	/* monitor -> the cor that started it, over the plan's sync socket */
	MSG_S_NAMESPACES = 192, /* the host namespaces stand: hooks may run */
	MSG_S_CREATED,          /* the container is set up in the guest */
	MSG_S_FAILED,           /* msg_result: why; the monitor exits after it */
	MSG_S_HOOKS_DONE,       /* cor -> monitor: prestart, createRuntime and createContainer hooks ran */
	MSG_S_PLAN, /* cor -> the process that becomes the monitor, and once more to the monitor if that was
		       for the VM only; fd: memfd with a packed mon_plan */
	MSG_S_VM,   /* monitor -> cor: the VM's process runs, STATE_DIR/vm names it: both can be moved to the
		       container's cgroup */
	MSG_S_CGROUPS_DONE, /* cor -> monitor: they are there. No CREATED before */
	/* to the keeper of a waiting VM */
	MSG_P_TAKE = 224, /* nothing; answered by GIVEN. From then on the connection's end is the VM's end */
	MSG_P_END, /* nothing; the VM ends, and then the connection. From an owner: what waits is no good */
	/* from the keeper */
	MSG_P_GIVEN, /* msg_given; fds: enum pool_fd (hyper/pool.h) */
	MSG_P_ENDED, /* msg_ended: the VM ended by itself */
};

/* The streams of process `proc` (see msg_exec): number = proc * 4 + one of these. */
enum msg_stream { STREAM_STDIN, STREAM_STDOUT, STREAM_STDERR };
static inline uint32_t msg_stream_id(uint32_t proc, enum msg_stream which)
{
	return proc * 4 + (uint32_t)which;
}
/* The container's first process; exec sessions count from 1. */
#define PROC_INIT 0u
#define PROC_MAX  0xffffu

struct msg_hello {
	uint32_t version;
	uint64_t nonce;           /* returned in msg_ready; frames before it are stale */
	int64_t realtime_ns;      /* the host's CLOCK_REALTIME: the guest sets its clock */
	struct pack_blob entropy; /* for the guest's pool */
	bool marks;               /* send MSG_A_MARK */
	bool rehearsal; /* the next container is only for warming up: after its end the agent waits for
			   another HELLO, as if this one had not been */
};

struct msg_ready {
	uint32_t version;
	uint64_t nonce;
	char *release;     /* uname -r of the guest */
	uint64_t boot_ns;  /* guest CLOCK_BOOTTIME when the agent's main() began */
	uint64_t ready_ns; /* and now */
};

struct msg_result {
	int64_t code; /* 0 or a negative errno */
	char *text;   /* NULL on success */
};

struct msg_ref {
	uint32_t proc;
};

struct msg_signal {
	uint32_t proc;
	uint32_t sig;
	bool all; /* every process of the container */
};

struct msg_resize {
	uint32_t proc;
	uint32_t rows, cols;
};

struct msg_exited {
	uint32_t proc;
	uint32_t code;   /* exit code; 128 + signal when killed by one */
	uint32_t signal; /* 0 = exited */
};

struct msg_mark {
	char *name;
	uint64_t boot_ns; /* guest CLOCK_BOOTTIME */
};

struct msg_ps_entry {
	uint32_t pid, ppid, uid; /* as the container sees them */
	uint64_t time_ms;        /* CPU time */
	char *tty;               /* "?" or a name */
	char *cmd;
};

struct msg_ps {
	PACK_RECS_OF(struct msg_ps_entry) entries;
};

struct msg_stats {
	uint64_t cpu_usage_us, cpu_user_us, cpu_system_us;
	uint64_t cpu_periods, cpu_throttled, cpu_throttled_us;
	uint64_t mem_usage, mem_limit, mem_peak, mem_failcnt, mem_cache, swap_usage, swap_limit;
	uint64_t pids_current, pids_limit;
	uint64_t oom_kills;
};

struct msg_rlimit {
	uint32_t type; /* RLIMIT_* of the kernel */
	uint64_t soft, hard;
};

struct msg_caps {
	uint64_t bounding, effective, inheritable, permitted, ambient; /* bit n = capability n */
};

struct msg_sched {
	uint32_t policy;
	int64_t nice;
	uint32_t priority;
	uint64_t flags, runtime, deadline, period;
};

struct msg_process {
	bool terminal;
	uint32_t rows, cols; /* 0 = unset */
	uint32_t uid, gid;
	struct pack_u32s gids;
	char *user; /* "USER[:GROUP]", names or numbers, which the agent looks up in the container: instead of
		       uid, gid and gids; NULL = these */
	bool has_umask;
	uint32_t umask;
	char *cwd;
	struct pack_strs args, env;
	bool has_caps;
	struct msg_caps caps;
	PACK_RECS_OF(struct msg_rlimit) rlimits;
	bool no_new_privs;
	bool has_oom_score_adj;
	int64_t oom_score_adj;
	bool has_sched;
	struct msg_sched sched;
	bool has_ioprio;
	uint32_t ioprio_class, ioprio_level;
	char *cpus_initial, *cpus_final; /* lists of guest CPUs or NULL */
	bool has_personality;
	uint64_t personality;
	struct pack_blob seccomp; /* array of struct sock_filter; empty = none */
	uint32_t seccomp_flags;   /* SECCOMP_FILTER_FLAG_* */
};

struct msg_exec {
	uint32_t proc; /* 1..PROC_MAX, not in use */
	struct msg_process process;
};

enum msg_mount_kind {
	MOUNT_FS,     /* mount -t type */
	MOUNT_SHARE,  /* bind of share entry `source` ("m0"), a directory or a file */
	MOUNT_CGROUP, /* the container's view of the guest's cgroup v2 tree */
	MOUNT_KIND_N
};

struct msg_mount {
	uint32_t kind;
	char *dest;                  /* absolute, lexically clean, inside the container */
	char *type;                  /* MOUNT_FS: file system type */
	char *source;                /* MOUNT_FS: source text; MOUNT_SHARE: entry name */
	char *data;                  /* file-system specific options, comma-separated, or NULL */
	uint64_t flags;              /* MS_* set by the options, without propagation */
	uint64_t propagation;        /* MS_SHARED..., with MS_REC; 0 = none */
	uint64_t rec_set, rec_clear; /* MOUNT_ATTR_* applied to the whole subtree (rro, rnosuid...) */
	bool tmpcopyup;
	bool is_file;   /* MOUNT_SHARE of something that is no directory */
	bool recursive; /* rbind */
};

struct msg_device {
	char *path;
	uint32_t type; /* S_IFCHR, S_IFBLK, S_IFIFO */
	uint32_t major, minor;
	uint32_t mode, uid, gid;
};

struct msg_device_rule {
	bool allow;
	uint32_t type;        /* 'a', 'c', 'b' */
	int64_t major, minor; /* -1 = any */
	uint32_t access;      /* bits 1 r, 2 w, 4 m */
};

struct msg_idmap {
	uint32_t container, host, size;
};

struct msg_kv {
	char *key, *value;
};

struct msg_hugepage {
	char *size; /* "2MB" */
	uint64_t limit;
};

/* Limits of the container's cgroup (v2) in the guest. The has_* bits separate "unset" from 0. */
struct msg_resources {
	bool has_mem_limit, has_mem_reservation, has_mem_swap; /* -1 = unlimited */
	int64_t mem_limit, mem_reservation, mem_swap;          /* swap: memory + swap, as in the OCI spec */
	bool has_cpu_shares, has_cpu_quota, has_cpu_period, has_cpu_burst, has_cpu_idle;
	uint64_t cpu_shares, cpu_period, cpu_burst;
	int64_t cpu_quota, cpu_idle;
	char *cpus, *mems;
	bool has_pids;
	int64_t pids_limit; /* <= -1 = unlimited */
	PACK_RECS_OF(struct msg_hugepage) hugepages;
	PACK_RECS_OF(struct msg_kv) unified;
	bool has_devices;
	PACK_RECS_OF(struct msg_device_rule) devices;
};

struct msg_hook {
	char *path;
	struct pack_strs args, env;
	uint32_t timeout_s; /* 0 = none */
};

struct msg_timeoffset {
	char *clock; /* "monotonic" or "boottime" */
	int64_t secs;
	uint32_t nanosecs;
};

struct msg_ctr {
	char *id;
	char *hostname, *domainname; /* NULL = unset */
	/* The root is an overlay of the pmem devices whose file systems have these UUIDs (32 hex digits), the
	 * bottom layer first. Empty: it is the share's. */
	struct pack_strs layers;
	uint64_t upper; /* bytes that may be written to that overlay, in guest memory; 0 = half of that */
	char *disk;     /* instead: the UUID of the ext4 that is written to, 32 hex digits; or NULL */
	bool root_readonly;
	uint64_t root_propagation; /* MS_*, 0 = private */
	uint64_t namespaces;       /* CLONE_NEW*: fresh ones in the guest */
	PACK_RECS_OF(struct msg_idmap) uid_map;
	PACK_RECS_OF(struct msg_idmap) gid_map;
	PACK_RECS_OF(struct msg_timeoffset) time_offsets;
	PACK_RECS_OF(struct msg_mount) mounts;
	PACK_RECS_OF(struct msg_device) devices; /* beside the default ones */
	PACK_RECS_OF(struct msg_kv) sysctls;
	struct pack_strs masked_paths, readonly_paths;
	struct msg_resources resources;
	struct msg_process process;
	PACK_RECS_OF(struct msg_hook) start_hooks; /* startContainer */
	char *hook_state; /* state JSON for their stdin, pid replaced by the host: sent as is */
};

/* A VM that waited, for its new owner. */
struct msg_given {
	uint32_t pid;    /* of the hypervisor, a child of the keeper */
	uint32_t helper; /* of its second process, whose pidfd leads to the mount namespace; 0 = none */
	char *share;     /* the shared directory, in the mount namespace that comes with it */
	bool copied;     /* it is a copy of one that waits: hv_ops.fork */
	char *refused;   /* why it is not, though it was to be; NULL */
};

struct msg_ended {
	uint32_t status; /* as of waitpid() */
};

struct msg_update {
	struct msg_resources resources;
};

extern const struct pack_rec rec_hello, rec_ready, rec_result, rec_ref, rec_signal, rec_resize, rec_exited,
	rec_mark, rec_ps, rec_stats, rec_given, rec_ended, rec_process, rec_exec, rec_resources, rec_ctr,
	rec_update;

/* The record of a message type, or NULL when it has no record (or is unknown). */
const struct pack_rec *msg_record(enum msg_type type);
/* The name of a message type, for logs ("?" when unknown). */
const char *msg_name(enum msg_type type);

#endif
