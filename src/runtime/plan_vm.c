/* plan_vm.c - the virtual machine's half of the plan: which hypervisor, whether KVM works, sizes, files. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

#include "hyper/cmdline.h"
#include "hyper/disk.h"
#include "hyper/hyper.h"
#include "hyper/layers.h"
#include "image/disk.h"
#include "runtime/plan.h"
#include "runtime/spawn.h"
#include "runtime/templates.h"

#define KVM_DEVICE   "/dev/kvm"
#define PAGE         4096u
#define PAGE_RECORD  64u  /* struct page of the guest's kernel */
#define KVM_PROBE_MS 2000 /* a busy host is not one without KVM; a VM without it takes longer */

static const char *const qemu_places[] = { "/usr/bin/qemu-system-x86_64", "/usr/local/bin/qemu-system-x86_64",
					   "/usr/libexec/qemu-kvm" };

int plan_find_qemu(const struct settings *s, struct arena *a, char **ret, struct err *e)
{
	const char *path = s->qemu_path;

	for (size_t i = 0; !path && i < ARRAY_LEN(qemu_places); i++)
		if (access(qemu_places[i], X_OK) == 0)
			path = qemu_places[i];
	if (!path)
		return err_set(e, -ENOENT,
			       "no QEMU found (%s): install the package qemu-system-x86, or set qemu.path in "
			       "cor.conf",
			       qemu_places[0]);
	if (access(path, X_OK) < 0)
		return err_set(e, -errno, "qemu.path %s: %m", path);
	*ret = arena_str(a, path);
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* The verdict is kept beside the templates, where there are any. */
static int probe(const struct settings *s, struct arena *a, struct err *e)
{
	struct template_store store;
	struct err ignored = { 0 };
	scoped_fd dir = -1;

	if (s->template && templates_store(s, a, &store, &ignored) == 0 &&
	    template_open(&store, &dir, &ignored) == 0)
		return kvm_probe_known(KVM_DEVICE, KVM_PROBE_MS, dir, e);
	return kvm_probe(KVM_DEVICE, KVM_PROBE_MS, e);
}

/* KVM only if guest code really ran; `kvm` in the settings makes its absence an error. */
static int choose_accel(const struct settings *s, struct arena *a, bool *ret_kvm, struct strv *warnings,
			struct err *e)
{
	struct err why = { 0 };
	int r;

	*ret_kvm = false;
	if (s->accel == SETTINGS_ACCEL_TCG)
		return 0;
	r = probe(s, a, &why);
	*ret_kvm = r == 0;
	if (r == 0)
		return 0;
	if (s->accel == SETTINGS_ACCEL_KVM)
		return err_set(e, r, "qemu.accel = kvm, but KVM does not work here: %s", why.msg);
	if (r != -ENOENT) /* no device at all is no surprise worth a line */
		strv_addf(warnings, "KVM is not used, the VM runs by software emulation: %s", why.msg);
	return 0;
}

/* How many CPUs a list such as "0-3,7" names; 0 = none or no list. */
static unsigned count_cpus(const char *list)
{
	unsigned n = 0, from, to;
	const char *p = list;
	char *end;

	while (p && *p) {
		from = to = (unsigned)strtoul(p, &end, 10);
		if (end == p)
			return 0;
		if (*end == '-') {
			p = end + 1;
			to = (unsigned)strtoul(p, &end, 10);
			if (end == p || to < from || to - from > 4096)
				return 0;
		}
		n += to - from + 1;
		p = *end == ',' ? end + 1 : NULL;
	}
	return n;
}

static void choose_size(const struct plan_in *in, struct vmcfg *ret)
{
	const struct spec_resources *r = &in->spec->lnx.resources;
	uint64_t limit = r->memory.has_limit && r->memory.limit > 0 ? (uint64_t)r->memory.limit : 0;
	struct sysinfo si;
	cpu_set_t set;

	if (sysinfo(&si) < 0)
		si.totalram = 0;
	if (sched_getaffinity(0, sizeof set, &set) < 0)
		CPU_ZERO(&set);
	ret->memory = settings_vm_memory(in->settings, limit, (uint64_t)si.totalram * si.mem_unit);
	ret->vcpus = settings_vm_vcpus(
		in->settings, r->cpu.has_quota && r->cpu.quota > 0 ? (uint64_t)r->cpu.quota : 0,
		r->cpu.has_period ? r->cpu.period : 0, count_cpus(r->cpu.cpus), (unsigned)CPU_COUNT(&set));
}

static int check_file(const char *what, const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(e, -errno, "%s %s: %m (make the mini-OS with: cor-image os)", what, path);
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return err_set(e, -EINVAL,
			       "%s %s is not a file with content (make it anew with: cor-image os)", what,
			       path);
	return 0;
}

/* A program of ours. */
static int find_part(const char *libexecdir, const char *name, struct arena *a, char **ret, struct err *e)
{
	int r = spawn_find(libexecdir, name, a, ret);

	return r < 0 ? err_set(e, r, "%s/%s: %m (is Cor installed completely? ninja install)", libexecdir,
			       name)
		     : 0;
}

static int find_fsd(const char *libexecdir, struct arena *a, struct vmcfg *ret, struct err *e)
{
	int r = find_part(libexecdir, "cor-jail", a, &ret->jail_path, e);

	return r < 0 ? r : find_part(libexecdir, "cor-fsd", a, &ret->fsd_path, e);
}

int plan_find_vmm(const char *libexecdir, struct arena *a, struct vmcfg *ret, struct err *e)
{
	int r = find_part(libexecdir, "cor-vmm", a, &ret->hypervisor_path, e);

	if (r == 0)
		r = find_fsd(libexecdir, a, ret, e);
	if (r < 0)
		return r;
	ret->hypervisor = PLAN_HV_KVM;
	ret->kvm = true;
	return 0;
}

bool plan_wants_qemu(const struct settings *s)
{
	return s->hypervisor == SETTINGS_HV_QEMU || s->qemu_path || s->accel != SETTINGS_ACCEL_AUTO ||
	       s->share != SETTINGS_SHARE_9P || s->qemu_params.n > 0;
}

bool plan_serves_files(const struct settings *s, struct arena *a)
{
	struct err ignored = { 0 };

	if (s->hypervisor == SETTINGS_HV_KVM || s->share == SETTINGS_SHARE_VIRTIOFS)
		return true;
	return !plan_wants_qemu(s) && probe(s, a, &ignored) == 0;
}

static int use_qemu(const struct plan_in *in, struct arena *a, struct vmcfg *ret, struct err *e)
{
	const struct settings *s = in->settings;
	int r;

	*ret = (struct vmcfg){
		.hypervisor = PLAN_HV_QEMU, .kvm = ret->kvm, .memory = ret->memory, .vcpus = ret->vcpus
	};
	r = plan_find_qemu(s, a, &ret->hypervisor_path, e);
	if (r < 0)
		return r;
	if (s->share == SETTINGS_SHARE_VIRTIOFS)
		r = find_fsd(in->libexecdir, a, ret, e);
	if (r < 0)
		return r;
	/* A sanitizer build has none: its absence is no error. */
	if (spawn_find(in->libexecdir, "cor-qemu-fix.so", a, &ret->hypervisor_preload) < 0)
		ret->hypervisor_preload = NULL;
	ret->hypervisor_params.p = arena_array(a, s->qemu_params.n + 1, sizeof(char *));
	if (!ret->hypervisor_params.p)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < s->qemu_params.n; i++) {
		ret->hypervisor_params.p[i] = arena_str(a, s->qemu_params.p[i]);
		if (!ret->hypervisor_params.p[i])
			return err_set(e, -ENOMEM, "out of memory");
	}
	ret->hypervisor_params.n = s->qemu_params.n;
	return 0;
}

static int choose_hypervisor(const struct plan_in *in, struct arena *a, struct vmcfg *ret,
			     struct strv *warnings, struct err *e)
{
	const struct settings *s = in->settings;
	struct err why = { 0 };
	int r;

	if (s->hypervisor == SETTINGS_HV_KVM) {
		r = probe(s, a, &why);
		if (r < 0)
			return err_set(e, r, "hypervisor = kvm, but KVM does not work here: %s", why.msg);
		if (ret->vcpus > KVM_VCPUS_MAX)
			return err_set(
				e, -EINVAL,
				"hypervisor = kvm: the container needs %u vCPUs, cor-vmm has at most %u: "
				"hypervisor = auto takes QEMU for it",
				ret->vcpus, KVM_VCPUS_MAX);
		return plan_find_vmm(in->libexecdir, a, ret, e);
	}
	r = choose_accel(s, a, &ret->kvm, warnings, e);
	if (r == 0 && ret->kvm && !plan_wants_qemu(s)) {
		if (ret->vcpus > KVM_VCPUS_MAX)
			strv_addf(warnings,
				  "QEMU is used: the container needs %u vCPUs, cor-vmm has at most %u",
				  ret->vcpus, KVM_VCPUS_MAX);
		else if (plan_find_vmm(in->libexecdir, a, ret, &why) == 0)
			return 0;
	}
	return r == 0 ? use_qemu(in, a, ret, e) : r;
}

/* The guest's kernel has a record for each page of a device: its memory must hold them and be of use still.
 */
static int check_room(const struct vmcfg *vm, struct err *e)
{
	uint64_t size = 0, records;

	for (size_t i = 0; i < vm->layers.n; i++)
		size += vm->layers.p[i].size;
	records = size / PAGE * PAGE_RECORD;
	return records <= vm->memory / 2
		       ? 0
		       : err_set(e, -ENOMEM,
				 "the VM has %llu MB of memory, and its kernel needs %llu MB of it to map "
				 "images of %llu MB: give it more (--memory, vm.memory)",
				 (unsigned long long)(vm->memory >> 20), (unsigned long long)(records >> 20),
				 (unsigned long long)(size >> 20));
}

/* What the store has noted of the files, for who opens them. */
static int add_verity(const struct plan_in *in, struct arena *a, struct vmcfg *ret, struct err *e)
{
	size_t os = ret->layers.n - in->layers.n;

	for (size_t i = 0; i < in->verity.n && i < in->layers.n; i++) {
		struct vm_layer *l = &ret->layers.p[os + i];

		l->verity = *in->verity.p[i] ? arena_str(a, in->verity.p[i]) : NULL;
		if (*in->verity.p[i] && !l->verity)
			return err_set(e, -ENOMEM, "out of memory");
	}
	return 0;
}

/* Only a root of images has something written over it. */
static int add_disk(const struct plan_in *in, struct arena *a, struct vmcfg *ret, struct err *e)
{
	const struct settings *s = in->settings;
	scoped_free char *blank = NULL;
	int r;

	if (!in->layers.n || !s->image_disk)
		return 0;
	r = disk_blank(s->image_disk_dir, s->image_disk, &blank, e);
	return r == 0 ? hv_disk_describe(blank, s->image_disk, a, ret, e) : r;
}

int plan_vm(const struct plan_in *in, struct arena *a, struct vmcfg *ret, struct strv *warnings,
	    struct err *e)
{
	const struct settings *s = in->settings;
	scoped_str words = { 0 };
	const char *os;
	int r;

	*ret = (struct vmcfg){ .hypervisor = PLAN_HV_QEMU };
	r = check_file("guest kernel", s->kernel, e);
	if (r == 0)
		r = check_file("mini-OS", s->initrd, e);
	choose_size(in, ret);
	if (r == 0)
		r = choose_hypervisor(in, a, ret, warnings, e);
	if (r < 0)
		return r;
	os = hv_layer_is(s->initrd) ? s->initrd : NULL;
	r = hv_layers_describe(os, &in->layers, a, ret, e);
	if (r == 0)
		r = check_room(ret, e);
	if (r == 0)
		r = add_verity(in, a, ret, e);
	if (r == 0)
		r = add_disk(in, a, ret, e);
	if (r < 0)
		return r;
	ret->merge = str_eq(s->ksm_domain, s->template_domain);
	ret->kernel = arena_str(a, s->kernel);
	ret->initrd = os ? NULL : arena_str(a, s->initrd);
	ret->share = arena_fmt(a, "%s/share", in->state_dir);
	if (!ret->kernel || (!os && !ret->initrd) || !ret->share)
		return err_set(e, -ENOMEM, "out of memory");
	r = hv_kernel_cmdline(ret, &words);
	for (size_t i = 0; i < s->kernel_params.n; i++)
		str_addf(&words, " %s", s->kernel_params.p[i]);
	if (r == 0)
		r = str_check(&words);
	ret->cmdline = r == 0 ? arena_str(a, words.p) : NULL;
	return ret->cmdline ? 0 : err_set(e, r < 0 ? r : -ENOMEM, "kernel command line: %m");
}
