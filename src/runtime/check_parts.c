/* check_parts.c - questions about Cor's own parts and the programs it needs: QEMU, its firmware,
 * cor-vmm, monitor, kernel, mini-OS. Called through the table by check.c.
 * Trusts: the settings' paths. Distrusts: what the programs print. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/num.h"
#include "runtime/check.h"
#include "runtime/plan.h"
#include "runtime/spawn.h"
#include "runtime/templates.h"
#include "sys/proc.h"

#define QEMU_TIMEOUT_MS 10000
#define QEMU_MAJOR      7 /* the oldest release that is tried: Debian 12's */
#define QEMU_MINOR      2
#define MANIFEST_MAX    (256u << 10)
#define MIB             (1u << 20)

/* Runs QEMU with one or two arguments; false unless it exits with 0. Takes what it prints. */
static bool ask_program(const char *qemu, const char *a, const char *b, struct str *out)
{
	const char *argv[] = { qemu, a, b, NULL };
	struct proc_run run = { .argv = argv, .timeout_ms = QEMU_TIMEOUT_MS, .out_max = 1u << 20 };
	int r = proc_run(&run, NULL);

	*out = run.out;
	return r == 0 && run.status == 0 && out->p;
}

/* "QEMU emulator version 7.2.22 (...)": the two numbers. */
static bool parse_version(const char *text, uint64_t *major, uint64_t *minor)
{
	static const char head[] = "version ";
	const char *p = strstr(text, head);
	scoped_strv parts = { 0 };
	scoped_free char *word = NULL;

	if (!p)
		return false;
	p += sizeof head - 1;
	word = strndup(p, strspn(p, "0123456789."));
	if (!word)
		return false;
	strv_split(&parts, word, '.');
	return parts.n >= 2 && num_parse_u64(parts.p[0], major) == 0 && num_parse_u64(parts.p[1], minor) == 0;
}

static int ask_vmm(struct check_ctx *c, struct check_item *it)
{
	const bool only = c->settings->hypervisor == SETTINGS_HV_KVM;
	struct vmcfg vm = { 0 };
	struct err why = { 0 };

	it->required = only;
	if (plan_wants_qemu(c->settings)) {
		str_add(&it->found, "not used: the settings ask for QEMU");
		return 0;
	}
	if (plan_find_vmm(c->libexecdir, c->mem, &vm, &why) < 0) {
		it->result = CHECK_MISSING;
		str_add(&it->found, why.msg);
		return 0;
	}
	str_add(&it->found, vm.hypervisor_path);
	c->vmm = c->kvm || only;
	if (!c->kvm)
		str_add(&it->found, ", which needs KVM");
	if (!c->kvm && only) {
		it->result = CHECK_MISSING;
		it->cost = "hypervisor = kvm in cor.conf forbids QEMU: no container runs";
		it->remedy = "make KVM work, or set hypervisor = auto in cor.conf";
	}
	return 0;
}

/* Where cor-vmm runs containers, QEMU is for what it can't do. */
static void without_qemu(const struct check_ctx *c, struct check_item *it)
{
	if (!c->vmm)
		return;
	it->required = false;
	it->cost = "no VM with more than 64 CPUs can be started";
}

static int ask_qemu(struct check_ctx *c, struct check_item *it)
{
	struct err why = { 0 };
	scoped_str out = { 0 };
	uint64_t major = 0, minor = 0;
	char *path;

	without_qemu(c, it);
	it->result = CHECK_MISSING;
	if (plan_find_qemu(c->settings, c->mem, &path, &why) < 0) {
		str_add(&it->found, why.msg);
		return 0;
	}
	str_addf(&it->found, "%s", path);
	if (!ask_program(path, "--version", NULL, &out)) {
		str_add(&it->found, " does not run");
		return 0;
	}
	c->qemu = path;
	if (!parse_version(out.p, &major, &minor)) {
		str_add(&it->found, " does not say its version");
		it->result = CHECK_DEGRADED;
		it->cost = "it may lack what Cor needs";
		return 0;
	}
	str_addf(&it->found, " %llu.%llu", (unsigned long long)major, (unsigned long long)minor);
	if (major > QEMU_MAJOR || (major == QEMU_MAJOR && minor >= QEMU_MINOR)) {
		it->result = CHECK_OK;
		return 0;
	}
	str_addf(&it->found, ", older than %d.%d", QEMU_MAJOR, QEMU_MINOR);
	return 0;
}

static int ask_devices(struct check_ctx *c, struct check_item *it)
{
	static const char *const needed[] = { "\"virtio-serial-pci\"", "\"virtserialport\"",
					      "\"virtio-9p-pci\"", "\"isa-serial\"" };
	const char *sep = "without ";
	scoped_str out = { 0 };

	without_qemu(c, it);
	it->result = CHECK_MISSING;
	if (!c->qemu || !ask_program(c->qemu, "-device", "help", &out)) {
		str_add(&it->found, "QEMU can't be asked");
		return 0;
	}
	it->result = CHECK_OK;
	for (size_t i = 0; i < ARRAY_LEN(needed); i++) {
		if (strstr(out.p, needed[i]))
			continue;
		str_addf(&it->found, "%s%s", sep, needed[i]);
		sep = ", ";
		it->result = CHECK_MISSING;
	}
	if (it->result == CHECK_OK)
		str_add(&it->found, "virtio-serial, virtio-9p");
	return 0;
}

/* QEMU itself says where it looks for firmware. */
static int ask_qboot(struct check_ctx *c, struct check_item *it)
{
	scoped_strv dirs = { 0 };
	scoped_str out = { 0 };

	without_qemu(c, it);
	it->result = CHECK_MISSING;
	if (!c->qemu || !ask_program(c->qemu, "-L", "help", &out)) {
		str_add(&it->found, "QEMU can't be asked");
		return 0;
	}
	strv_split(&dirs, out.p, '\n');
	for (size_t i = 0; i < dirs.n; i++) {
		scoped_free char *path = str_fmt("%s/qboot.rom", dirs.p[i]);

		if (!path)
			return -ENOMEM;
		if (*dirs.p[i] && access(path, R_OK) == 0) {
			str_add(&it->found, path);
			it->result = CHECK_OK;
			return 0;
		}
	}
	str_add(&it->found, "qboot.rom is in none of QEMU's directories");
	return strv_check(&dirs);
}

static int ask_monitor(struct check_ctx *c, struct check_item *it)
{
	struct err why = { 0 };
	char *path = NULL;
	int r = spawn_monitor_path(c->libexecdir, c->mem, &path, &why);

	if (r < 0 || access(path, X_OK) < 0) {
		it->result = CHECK_MISSING;
		str_addf(&it->found, "%s", r < 0 ? why.msg : strerror(errno));
		return 0;
	}
	str_add(&it->found, path);
	return 0;
}

/* Size and first bytes of a regular file; false with the reason in found. */
static bool look_at(const char *path, struct check_item *it, struct stat *st, char head[4])
{
	scoped_fd fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	str_add(&it->found, path);
	it->result = CHECK_MISSING;
	if (fd < 0 || fstat(fd, st) < 0) {
		str_addf(&it->found, ": %s", strerror(errno));
		return false;
	}
	if (!S_ISREG(st->st_mode) || io_read_full(fd, head, 4) != 4) {
		str_add(&it->found, " is empty or no regular file");
		return false;
	}
	it->result = CHECK_OK;
	return true;
}

/* The release that cor-image noted beside its kernel. */
static void add_release(const char *kernel, struct str *to)
{
	scoped_free char *copy = strdup(kernel);
	scoped_free char *path = copy ? str_fmt("%s/manifest", dirname(copy)) : NULL;
	scoped_free char *text = NULL;
	const char *p;
	size_t len;

	if (!path || io_read_file_at(AT_FDCWD, path, MANIFEST_MAX, &text, &len) < 0)
		return; /* another kernel, without one */
	p = strstr(text, "\nrelease ");
	if (!p)
		return;
	p += strlen("\nrelease ");
	str_addf(to, ", Linux %.*s", (int)num_min(strcspn(p, "\n"), 64), p);
}

static int ask_guest_kernel(struct check_ctx *c, struct check_item *it)
{
	struct stat st;
	char head[4];

	if (!look_at(c->settings->kernel, it, &st, head))
		return 0;
	if (memcmp(head, "\177ELF", 4) != 0) {
		str_add(&it->found, " is no ELF kernel");
		it->result = CHECK_MISSING;
		it->remedy = "vm.kernel must be an uncompressed ELF kernel: cor-image os makes one";
		return 0;
	}
	add_release(c->settings->kernel, &it->found);
	return 0;
}

static int ask_initrd(struct check_ctx *c, struct check_item *it)
{
	struct stat st;
	char head[4];

	if (!look_at(c->settings->initrd, it, &st, head))
		return 0;
	str_addf(&it->found, ", %llu MiB", (unsigned long long)((st.st_size + MIB - 1) / MIB));
	return 0;
}

/* Looks, and makes nothing. */
static int ask_templates(struct check_ctx *c, struct check_item *it)
{
	scoped_free struct template_info *all = NULL;
	struct template_store store = { 0 };
	struct err why = { 0 };
	uint64_t disk = 0;
	size_t n = 0;
	int r;

	if (!c->settings->template) {
		str_add(&it->found, "off (template): every VM boots");
		return 0;
	}
	r = templates_store(c->settings, c->mem, &store, &why);
	if (r == 0 && access(store.dir, F_OK) == 0)
		r = template_list(&store, &all, &n, &why);
	if (r < 0) {
		it->result = CHECK_DEGRADED;
		str_add(&it->found, why.msg);
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		disk += all[i].disk;
	str_addf(&it->found, "%zu in %s, %llu MiB", n, store.dir, (unsigned long long)(disk / MIB));
	return 0;
}

#define NO_CONTAINER "no container can be started"

const struct check_row check_part_rows[] = {
	{ "vmm", "cor-vmm", false, "VMs are QEMU's, which start slower and take more memory",
	  "install Cor again (ninja install)", ask_vmm },
	{ "qemu", "QEMU", true, NO_CONTAINER,
	  "apt-get install qemu-system-x86 (7.2 or later), or qemu.path in cor.conf", ask_qemu },
	{ "qemu-devices", "QEMU's devices", true, NO_CONTAINER,
	  "a QEMU that is built with virtio-serial and virtio-9p", ask_devices },
	{ "qboot", "QEMU's firmware", true, NO_CONTAINER, "apt-get install qemu-system-data", ask_qboot },
	{ "monitor", "cor-monitor", true, NO_CONTAINER, "install Cor again (ninja install)", ask_monitor },
	{ "guest-kernel", "guest kernel", true, NO_CONTAINER, "cor-image os, or vm.kernel in cor.conf",
	  ask_guest_kernel },
	{ "initrd", "mini-OS", true, NO_CONTAINER, "cor-image os, or vm.initrd in cor.conf", ask_initrd },
	{ "templates", "templates", false, "every VM boots, which takes longer than a clone",
	  "see template.dir and template.domain in cor.conf(5)", ask_templates },
};
const size_t check_n_part_rows = ARRAY_LEN(check_part_rows);
