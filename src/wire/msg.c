/* msg.c - the tables of every record, and of every message type.
 *
 * A field that is missing here is not sent: tests/unit/wire walks each record with every byte set.
 * The limits bound what a peer may make us allocate; each is far above what real callers send. */
#include "wire/msg.h"

#define F(st, ty, field, lim)                                                                                \
	{                                                                                                    \
#field, ty, offsetof(struct st, field), lim, NULL                                            \
	}
#define FR(st, ty, field, lim, r)                                                                            \
	{                                                                                                    \
#field, ty, offsetof(struct st, field), lim, &(r)                                            \
	}
#define REC(var, st, ...)                                                                                    \
	static const struct pack_field var##_fields[] = { __VA_ARGS__ };                                     \
	const struct pack_rec var = { #st, sizeof(struct st), var##_fields, ARRAY_LEN(var##_fields) }
#define STATIC_REC(var, st, ...)                                                                             \
	static const struct pack_field var##_fields[] = { __VA_ARGS__ };                                     \
	static const struct pack_rec var = { #st, sizeof(struct st), var##_fields, ARRAY_LEN(var##_fields) }

#define LIM_NAME 4096       /* paths, names */
#define LIM_LIST 4096       /* mounts, paths, devices */
#define LIM_ARGS 65536      /* arguments, environment */
#define LIM_BPF  (4096 * 8) /* the kernel's BPF_MAXINSNS */

REC(rec_hello, msg_hello, F(msg_hello, PACK_U32, version, 0), F(msg_hello, PACK_U64, nonce, 0),
    F(msg_hello, PACK_I64, realtime_ns, 0), F(msg_hello, PACK_BLOB, entropy, 512),
    F(msg_hello, PACK_BOOL, marks, 0), F(msg_hello, PACK_BOOL, rehearsal, 0));

REC(rec_ready, msg_ready, F(msg_ready, PACK_U32, version, 0), F(msg_ready, PACK_U64, nonce, 0),
    F(msg_ready, PACK_STR, release, 64), F(msg_ready, PACK_U64, boot_ns, 0),
    F(msg_ready, PACK_U64, ready_ns, 0));

REC(rec_result, msg_result, F(msg_result, PACK_I64, code, 0), F(msg_result, PACK_STR, text, ERR_MSG_MAX));

REC(rec_ref, msg_ref, F(msg_ref, PACK_U32, proc, 0));

REC(rec_signal, msg_signal, F(msg_signal, PACK_U32, proc, 0), F(msg_signal, PACK_U32, sig, 0),
    F(msg_signal, PACK_BOOL, all, 0));

REC(rec_resize, msg_resize, F(msg_resize, PACK_U32, proc, 0), F(msg_resize, PACK_U32, rows, 0),
    F(msg_resize, PACK_U32, cols, 0));

REC(rec_exited, msg_exited, F(msg_exited, PACK_U32, proc, 0), F(msg_exited, PACK_U32, code, 0),
    F(msg_exited, PACK_U32, signal, 0));

REC(rec_mark, msg_mark, F(msg_mark, PACK_STR, name, 64), F(msg_mark, PACK_U64, boot_ns, 0));

REC(rec_given, msg_given, F(msg_given, PACK_U32, pid, 0), F(msg_given, PACK_U32, helper, 0),
    F(msg_given, PACK_STR, share, LIM_NAME), F(msg_given, PACK_BOOL, copied, 0),
    F(msg_given, PACK_STR, refused, ERR_MSG_MAX));

REC(rec_ended, msg_ended, F(msg_ended, PACK_U32, status, 0));

STATIC_REC(rec_ps_entry, msg_ps_entry, F(msg_ps_entry, PACK_U32, pid, 0), F(msg_ps_entry, PACK_U32, ppid, 0),
	   F(msg_ps_entry, PACK_U32, uid, 0), F(msg_ps_entry, PACK_U64, time_ms, 0),
	   F(msg_ps_entry, PACK_STR, tty, 64), F(msg_ps_entry, PACK_STR, cmd, 4096));

REC(rec_ps, msg_ps, FR(msg_ps, PACK_RECS, entries, 32768, rec_ps_entry));

REC(rec_stats, msg_stats, F(msg_stats, PACK_U64, cpu_usage_us, 0), F(msg_stats, PACK_U64, cpu_user_us, 0),
    F(msg_stats, PACK_U64, cpu_system_us, 0), F(msg_stats, PACK_U64, cpu_periods, 0),
    F(msg_stats, PACK_U64, cpu_throttled, 0), F(msg_stats, PACK_U64, cpu_throttled_us, 0),
    F(msg_stats, PACK_U64, mem_usage, 0), F(msg_stats, PACK_U64, mem_limit, 0),
    F(msg_stats, PACK_U64, mem_peak, 0), F(msg_stats, PACK_U64, mem_failcnt, 0),
    F(msg_stats, PACK_U64, mem_cache, 0), F(msg_stats, PACK_U64, swap_usage, 0),
    F(msg_stats, PACK_U64, swap_limit, 0), F(msg_stats, PACK_U64, pids_current, 0),
    F(msg_stats, PACK_U64, pids_limit, 0), F(msg_stats, PACK_U64, oom_kills, 0));

STATIC_REC(rec_rlimit, msg_rlimit, F(msg_rlimit, PACK_U32, type, 0), F(msg_rlimit, PACK_U64, soft, 0),
	   F(msg_rlimit, PACK_U64, hard, 0));

STATIC_REC(rec_caps, msg_caps, F(msg_caps, PACK_U64, bounding, 0), F(msg_caps, PACK_U64, effective, 0),
	   F(msg_caps, PACK_U64, inheritable, 0), F(msg_caps, PACK_U64, permitted, 0),
	   F(msg_caps, PACK_U64, ambient, 0));

STATIC_REC(rec_sched, msg_sched, F(msg_sched, PACK_U32, policy, 0), F(msg_sched, PACK_I64, nice, 0),
	   F(msg_sched, PACK_U32, priority, 0), F(msg_sched, PACK_U64, flags, 0),
	   F(msg_sched, PACK_U64, runtime, 0), F(msg_sched, PACK_U64, deadline, 0),
	   F(msg_sched, PACK_U64, period, 0));

REC(rec_process, msg_process, F(msg_process, PACK_BOOL, terminal, 0), F(msg_process, PACK_U32, rows, 0),
    F(msg_process, PACK_U32, cols, 0), F(msg_process, PACK_U32, uid, 0), F(msg_process, PACK_U32, gid, 0),
    F(msg_process, PACK_U32S, gids, 65536), F(msg_process, PACK_STR, user, LIM_NAME),
    F(msg_process, PACK_BOOL, has_umask, 0), F(msg_process, PACK_U32, umask, 0),
    F(msg_process, PACK_STR, cwd, LIM_NAME), F(msg_process, PACK_STRS, args, LIM_ARGS),
    F(msg_process, PACK_STRS, env, LIM_ARGS), F(msg_process, PACK_BOOL, has_caps, 0),
    FR(msg_process, PACK_REC, caps, 0, rec_caps), FR(msg_process, PACK_RECS, rlimits, 32, rec_rlimit),
    F(msg_process, PACK_BOOL, no_new_privs, 0), F(msg_process, PACK_BOOL, has_oom_score_adj, 0),
    F(msg_process, PACK_I64, oom_score_adj, 0), F(msg_process, PACK_BOOL, has_sched, 0),
    FR(msg_process, PACK_REC, sched, 0, rec_sched), F(msg_process, PACK_BOOL, has_ioprio, 0),
    F(msg_process, PACK_U32, ioprio_class, 0), F(msg_process, PACK_U32, ioprio_level, 0),
    F(msg_process, PACK_STR, cpus_initial, LIM_NAME), F(msg_process, PACK_STR, cpus_final, LIM_NAME),
    F(msg_process, PACK_BOOL, has_personality, 0), F(msg_process, PACK_U64, personality, 0),
    F(msg_process, PACK_BLOB, seccomp, LIM_BPF), F(msg_process, PACK_U32, seccomp_flags, 0));

REC(rec_exec, msg_exec, F(msg_exec, PACK_U32, proc, 0), FR(msg_exec, PACK_REC, process, 0, rec_process));

STATIC_REC(rec_mount, msg_mount, F(msg_mount, PACK_U32, kind, 0), F(msg_mount, PACK_STR, dest, LIM_NAME),
	   F(msg_mount, PACK_STR, type, 64), F(msg_mount, PACK_STR, source, LIM_NAME),
	   F(msg_mount, PACK_STR, data, LIM_NAME), F(msg_mount, PACK_U64, flags, 0),
	   F(msg_mount, PACK_U64, propagation, 0), F(msg_mount, PACK_U64, rec_set, 0),
	   F(msg_mount, PACK_U64, rec_clear, 0), F(msg_mount, PACK_BOOL, tmpcopyup, 0),
	   F(msg_mount, PACK_BOOL, is_file, 0), F(msg_mount, PACK_BOOL, recursive, 0));

STATIC_REC(rec_device, msg_device, F(msg_device, PACK_STR, path, LIM_NAME), F(msg_device, PACK_U32, type, 0),
	   F(msg_device, PACK_U32, major, 0), F(msg_device, PACK_U32, minor, 0),
	   F(msg_device, PACK_U32, mode, 0), F(msg_device, PACK_U32, uid, 0),
	   F(msg_device, PACK_U32, gid, 0));

STATIC_REC(rec_device_rule, msg_device_rule, F(msg_device_rule, PACK_BOOL, allow, 0),
	   F(msg_device_rule, PACK_U32, type, 0), F(msg_device_rule, PACK_I64, major, 0),
	   F(msg_device_rule, PACK_I64, minor, 0), F(msg_device_rule, PACK_U32, access, 0));

STATIC_REC(rec_idmap, msg_idmap, F(msg_idmap, PACK_U32, container, 0), F(msg_idmap, PACK_U32, host, 0),
	   F(msg_idmap, PACK_U32, size, 0));

STATIC_REC(rec_kv, msg_kv, F(msg_kv, PACK_STR, key, LIM_NAME), F(msg_kv, PACK_STR, value, LIM_NAME));

STATIC_REC(rec_hugepage, msg_hugepage, F(msg_hugepage, PACK_STR, size, 32),
	   F(msg_hugepage, PACK_U64, limit, 0));

REC(rec_resources, msg_resources, F(msg_resources, PACK_BOOL, has_mem_limit, 0),
    F(msg_resources, PACK_BOOL, has_mem_reservation, 0), F(msg_resources, PACK_BOOL, has_mem_swap, 0),
    F(msg_resources, PACK_I64, mem_limit, 0), F(msg_resources, PACK_I64, mem_reservation, 0),
    F(msg_resources, PACK_I64, mem_swap, 0), F(msg_resources, PACK_BOOL, has_cpu_shares, 0),
    F(msg_resources, PACK_BOOL, has_cpu_quota, 0), F(msg_resources, PACK_BOOL, has_cpu_period, 0),
    F(msg_resources, PACK_BOOL, has_cpu_burst, 0), F(msg_resources, PACK_BOOL, has_cpu_idle, 0),
    F(msg_resources, PACK_U64, cpu_shares, 0), F(msg_resources, PACK_U64, cpu_period, 0),
    F(msg_resources, PACK_U64, cpu_burst, 0), F(msg_resources, PACK_I64, cpu_quota, 0),
    F(msg_resources, PACK_I64, cpu_idle, 0), F(msg_resources, PACK_STR, cpus, LIM_NAME),
    F(msg_resources, PACK_STR, mems, LIM_NAME), F(msg_resources, PACK_BOOL, has_pids, 0),
    F(msg_resources, PACK_I64, pids_limit, 0), FR(msg_resources, PACK_RECS, hugepages, 16, rec_hugepage),
    FR(msg_resources, PACK_RECS, unified, 256, rec_kv), F(msg_resources, PACK_BOOL, has_devices, 0),
    FR(msg_resources, PACK_RECS, devices, LIM_LIST, rec_device_rule));

STATIC_REC(rec_hook, msg_hook, F(msg_hook, PACK_STR, path, LIM_NAME), F(msg_hook, PACK_STRS, args, LIM_ARGS),
	   F(msg_hook, PACK_STRS, env, LIM_ARGS), F(msg_hook, PACK_U32, timeout_s, 0));

STATIC_REC(rec_timeoffset, msg_timeoffset, F(msg_timeoffset, PACK_STR, clock, 32),
	   F(msg_timeoffset, PACK_I64, secs, 0), F(msg_timeoffset, PACK_U32, nanosecs, 0));

REC(rec_ctr, msg_ctr, F(msg_ctr, PACK_STR, id, 1024), F(msg_ctr, PACK_STR, hostname, 256),
    F(msg_ctr, PACK_STR, domainname, 256), F(msg_ctr, PACK_STRS, layers, LAYERS_MAX),
    F(msg_ctr, PACK_U64, upper, 0), F(msg_ctr, PACK_STR, disk, 32), F(msg_ctr, PACK_BOOL, root_readonly, 0),
    F(msg_ctr, PACK_U64, root_propagation, 0), F(msg_ctr, PACK_U64, namespaces, 0),
    FR(msg_ctr, PACK_RECS, uid_map, 340, rec_idmap), FR(msg_ctr, PACK_RECS, gid_map, 340, rec_idmap),
    FR(msg_ctr, PACK_RECS, time_offsets, 2, rec_timeoffset),
    FR(msg_ctr, PACK_RECS, mounts, LIM_LIST, rec_mount),
    FR(msg_ctr, PACK_RECS, devices, LIM_LIST, rec_device), FR(msg_ctr, PACK_RECS, sysctls, LIM_LIST, rec_kv),
    F(msg_ctr, PACK_STRS, masked_paths, LIM_LIST), F(msg_ctr, PACK_STRS, readonly_paths, LIM_LIST),
    FR(msg_ctr, PACK_REC, resources, 0, rec_resources), FR(msg_ctr, PACK_REC, process, 0, rec_process),
    FR(msg_ctr, PACK_RECS, start_hooks, 256, rec_hook), F(msg_ctr, PACK_STR, hook_state, 1u << 20));

REC(rec_update, msg_update, FR(msg_update, PACK_REC, resources, 0, rec_resources));

static const struct {
	enum msg_type type;
	const char *name;
	const struct pack_rec *rec;
} msgs[] = {
	{ MSG_A_HELLO, "hello", &rec_hello },
	{ MSG_A_CREATE, "create", &rec_ctr },
	{ MSG_A_START, "start", &rec_ref },
	{ MSG_A_EXEC, "exec", &rec_exec },
	{ MSG_A_SIGNAL, "signal", &rec_signal },
	{ MSG_A_RESIZE, "resize", &rec_resize },
	{ MSG_A_UPDATE, "update", &rec_update },
	{ MSG_A_PS, "ps", &rec_ref },
	{ MSG_A_STATS, "stats", &rec_ref },
	{ MSG_A_SHUTDOWN, "shutdown", NULL },
	{ MSG_A_READY, "ready", &rec_ready },
	{ MSG_A_RESULT, "result", &rec_result },
	{ MSG_A_PS_RESULT, "ps-result", &rec_ps },
	{ MSG_A_STATS_RESULT, "stats-result", &rec_stats },
	{ MSG_A_EXITED, "exited", &rec_exited },
	{ MSG_A_MARK, "mark", &rec_mark },
	{ MSG_A_OOM, "oom", &rec_ref },
	{ MSG_DATA, "data", NULL },
	{ MSG_EOF, "eof", NULL },
	{ MSG_CREDIT, "credit", NULL },
	{ MSG_CLOSED, "closed", NULL },
	{ MSG_C_START, "start", NULL },
	{ MSG_C_SIGNAL, "signal", &rec_signal },
	{ MSG_C_EXEC, "exec", NULL },
	{ MSG_C_PAUSE, "pause", NULL },
	{ MSG_C_RESUME, "resume", NULL },
	{ MSG_C_UPDATE, "update", NULL },
	{ MSG_C_PS, "ps", NULL },
	{ MSG_C_STATS, "stats", NULL },
	{ MSG_C_RESIZE, "resize", &rec_resize },
	{ MSG_C_RESULT, "result", &rec_result },
	{ MSG_C_EXITED, "exited", &rec_exited },
	{ MSG_C_PS_RESULT, "ps-result", NULL },
	{ MSG_C_STATS_RESULT, "stats-result", &rec_stats },
	{ MSG_S_NAMESPACES, "namespaces", NULL },
	{ MSG_S_CREATED, "created", NULL },
	{ MSG_S_FAILED, "failed", &rec_result },
	{ MSG_S_HOOKS_DONE, "hooks-done", NULL },
	{ MSG_S_PLAN, "plan", NULL },
	{ MSG_S_VM, "vm", NULL },
	{ MSG_S_CGROUPS_DONE, "cgroups-done", NULL },
	{ MSG_P_TAKE, "take", NULL },
	{ MSG_P_END, "end", NULL },
	{ MSG_P_GIVEN, "given", &rec_given },
	{ MSG_P_ENDED, "ended", &rec_ended },
};

const struct pack_rec *msg_record(enum msg_type type)
{
	for (size_t i = 0; i < ARRAY_LEN(msgs); i++)
		if (msgs[i].type == type)
			return msgs[i].rec;
	return NULL;
}

const char *msg_name(enum msg_type type)
{
	for (size_t i = 0; i < ARRAY_LEN(msgs); i++)
		if (msgs[i].type == type)
			return msgs[i].name;
	return "?";
}
