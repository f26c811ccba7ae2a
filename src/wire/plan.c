/* plan.c - the tables of the start plan's records. */
#include "wire/plan.h"

#define F(st, ty, field, lim)                                                                                \
	{                                                                                                    \
#field, ty, offsetof(struct st, field), lim, NULL                                            \
	}
#define FR(st, ty, field, lim, r)                                                                            \
	{                                                                                                    \
#field, ty, offsetof(struct st, field), lim, &(r)                                            \
	}

#define LIM_PATH  4096
#define LIM_BINDS 4096
#define LIM_MAP   4096 /* as the kernel's */

static const struct pack_field layer_fields[] = {
	F(vm_layer, PACK_STR, path, LIM_PATH),
	F(vm_layer, PACK_STR, uuid, 32),
	F(vm_layer, PACK_U64, size, 0),
	F(vm_layer, PACK_STR, verity, 64),
};
static const struct pack_rec rec_layer = { "layer", sizeof(struct vm_layer), layer_fields,
					   ARRAY_LEN(layer_fields) };

static const struct pack_field vmcfg_fields[] = {
	F(vmcfg, PACK_U32, hypervisor, 0),
	F(vmcfg, PACK_STR, hypervisor_path, LIM_PATH),
	F(vmcfg, PACK_STR, jail_path, LIM_PATH),
	F(vmcfg, PACK_STR, fsd_path, LIM_PATH),
	F(vmcfg, PACK_STR, hypervisor_preload, LIM_PATH),
	F(vmcfg, PACK_STRS, hypervisor_params, 1024),
	F(vmcfg, PACK_BOOL, kvm, 0),
	F(vmcfg, PACK_STR, kernel, LIM_PATH),
	F(vmcfg, PACK_STR, initrd, LIM_PATH),
	F(vmcfg, PACK_STR, cmdline, 2048),
	F(vmcfg, PACK_U64, memory, 0),
	F(vmcfg, PACK_U32, vcpus, 0),
	FR(vmcfg, PACK_RECS, layers, LAYERS_MAX, rec_layer),
	FR(vmcfg, PACK_REC, disk, 0, rec_layer),
	F(vmcfg, PACK_BOOL, merge, 0),
	F(vmcfg, PACK_STR, share, LIM_PATH),
	F(vmcfg, PACK_STR, template_dir, LIM_PATH),
	F(vmcfg, PACK_BOOL, template_make, 0),
	F(vmcfg, PACK_BOOL, forkable, 0),
	F(vmcfg, PACK_BOOL, waits, 0),
};
const struct pack_rec rec_vmcfg = { "vmcfg", sizeof(struct vmcfg), vmcfg_fields, ARRAY_LEN(vmcfg_fields) };

static const struct pack_field bind_fields[] = {
	F(plan_bind, PACK_STR, name, 32),          F(plan_bind, PACK_STR, source, LIM_PATH),
	F(plan_bind, PACK_STR, dest, LIM_PATH),    F(plan_bind, PACK_BOOL, is_file, 0),
	F(plan_bind, PACK_BOOL, readonly, 0),      F(plan_bind, PACK_BOOL, recursive, 0),
	F(plan_bind, PACK_STR, uid_map, LIM_MAP),  F(plan_bind, PACK_STR, gid_map, LIM_MAP),
	F(plan_bind, PACK_BOOL, map_recursive, 0),
};
static const struct pack_rec rec_bind = { "bind", sizeof(struct plan_bind), bind_fields,
					  ARRAY_LEN(bind_fields) };

static const struct pack_field ns_fields[] = {
	F(plan_ns, PACK_U64, type, 0),
	F(plan_ns, PACK_STR, path, LIM_PATH),
};
static const struct pack_rec rec_ns = { "namespace", sizeof(struct plan_ns), ns_fields,
					ARRAY_LEN(ns_fields) };

static const struct pack_field mon_plan_fields[] = {
	F(mon_plan, PACK_U32, version, 0),
	F(mon_plan, PACK_BOOL, vm_only, 0),
	F(mon_plan, PACK_STR, id, 1024),
	F(mon_plan, PACK_STR, state_dir, LIM_PATH),
	F(mon_plan, PACK_STR, root, LIM_PATH),
	F(mon_plan, PACK_BOOL, root_readonly, 0),
	FR(mon_plan, PACK_RECS, binds, LIM_BINDS, rec_bind),
	FR(mon_plan, PACK_RECS, namespaces, 16, rec_ns),
	F(mon_plan, PACK_BOOL, has_oom_score_adj, 0),
	F(mon_plan, PACK_I64, oom_score_adj, 0),
	F(mon_plan, PACK_STR, selinux_label, LIM_PATH),
	F(mon_plan, PACK_STR, console_socket, LIM_PATH),
	F(mon_plan, PACK_BOOL, pty_given, 0),
	F(mon_plan, PACK_BOOL, foreground, 0),
	F(mon_plan, PACK_BOOL, log, 0),
	F(mon_plan, PACK_BOOL, log_json, 0),
	F(mon_plan, PACK_BOOL, pool, 0),
	F(mon_plan, PACK_BOOL, keeper, 0),
	F(mon_plan, PACK_BOOL, learn, 0),
	F(mon_plan, PACK_BOOL, marks, 0),
	F(mon_plan, PACK_U32, boot_timeout_ms, 0),
	FR(mon_plan, PACK_REC, vm, 0, rec_vmcfg),
	FR(mon_plan, PACK_REC, ctr, 0, rec_ctr),
};
const struct pack_rec rec_mon_plan = { "plan", sizeof(struct mon_plan), mon_plan_fields,
				       ARRAY_LEN(mon_plan_fields) };
