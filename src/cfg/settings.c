/* settings.c - the settings table, its built-in values, and who may change what.
 *
 * Called by cmd/cor.c (file, command line) and the runtime's planning (annotations, vm section).
 * Trusts cor.conf when nobody but root or the caller can write it, and the command line. Distrusts
 * config.json: of that only what the rows or cor.conf open is taken, within vm.memory_max and
 * vm.vcpus_max. Never: reads a file inside a container's root, or keeps a value it refused. */
#include "cfg/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/log.h"
#include "base/num.h"

#define MIB (1ull << 20)
#define TIB (1ull << 40)
#define SEC 1000000000ull

#define POOL_MAX 64 /* waiting VMs of one shape */

static const char *const hypervisors[] = { "auto", "qemu", "kvm", NULL };
static const char *const accels[] = { "auto", "kvm", "tcg", NULL };
static const char *const shares[] = { "9p", "virtiofs", NULL };
static const char *const verity[] = { "off", "on", "require", NULL };
static const char *const log_levels[] = { "auto", "error", "warn", "info", "debug", NULL };
_Static_assert(ARRAY_LEN(hypervisors) == SETTINGS_HV_N + 1, "a name per hypervisor");
_Static_assert(ARRAY_LEN(accels) == SETTINGS_ACCEL_N + 1, "a name per accelerator");
_Static_assert(ARRAY_LEN(shares) == SETTINGS_SHARE_N + 1, "a name per share");
_Static_assert(ARRAY_LEN(verity) == SETTINGS_VERITY_N + 1, "a name for each");
_Static_assert(ARRAY_LEN(log_levels) == LOG_LVL_N + 2, "auto, and a name per log level");

#define HOST      (OPT_FROM_FILE | OPT_FROM_CLI)
#define ANYWHERE  (HOST | OPT_FROM_ANNOTATION | OPT_FROM_SPEC)
#define AT(field) offsetof(struct settings, field)

static const struct opt rows[] = {
	{ "hypervisor", 0, OPT_ENUM, HOST, AT(hypervisor), 0, 0, hypervisors, NULL,
	  "which hypervisor runs the VMs: qemu, or kvm, which is cor-vmm; auto takes cor-vmm where KVM works "
	  "and no qemu.* key is set" },
	{ "vm.memory", 0, OPT_SIZE, ANYWHERE, AT(memory), 32 * MIB, 16 * TIB, NULL, NULL,
	  "memory of a VM whose container has no memory limit" },
	{ "vm.memory_min", 0, OPT_SIZE, HOST, AT(memory_min), 32 * MIB, 16 * TIB, NULL, NULL,
	  "no VM gets less memory than this" },
	{ "vm.memory_max", 0, OPT_SIZE, HOST, AT(memory_max), 0, 16 * TIB, NULL, NULL,
	  "config.json can't ask for more memory than this; 0 is no limit" },
	{ "vm.memory_overhead", 0, OPT_SIZE, HOST, AT(memory_overhead), 0, TIB, NULL, NULL,
	  "memory added to a container's limit, for the guest's kernel and agent" },
	{ "vm.vcpus", 0, OPT_U64, ANYWHERE, AT(vcpus), 1, 255, NULL, NULL,
	  "virtual CPUs of a VM whose container has no CPU limit" },
	{ "vm.vcpus_max", 0, OPT_U64, HOST, AT(vcpus_max), 1, 255, NULL, NULL,
	  "config.json can't ask for more virtual CPUs than this" },
	{ "vm.kernel", 0, OPT_PATH, HOST, AT(kernel), 0, 0, NULL, NULL,
	  "the guest's kernel, an uncompressed ELF file" },
	{ "vm.initrd", 0, OPT_PATH, HOST, AT(initrd), 0, 0, NULL, NULL,
	  "the guest's initial file system, with the agent in it" },
	{ "vm.kernel_params", 0, OPT_WORDS, HOST, AT(kernel_params), 0, 0, NULL, NULL,
	  "parameters added to the guest kernel's command line" },
	{ "vm.boot_timeout", 0, OPT_DURATION, HOST, AT(boot_timeout_ns), SEC, 3600 * SEC, NULL, NULL,
	  "how long a guest may take from the VM's start to the agent's first answer" },
	{ "qemu.path", 0, OPT_PATH, HOST, AT(qemu_path), 0, 0, NULL, NULL,
	  "the QEMU program; by default qemu-system-x86_64 is looked for in the usual directories" },
	{ "qemu.accel", 0, OPT_ENUM, HOST, AT(accel), 0, 0, accels, NULL,
	  "how QEMU runs guest code; auto takes kvm if a probe could run guest code, else tcg (software "
	  "emulation)" },
	{ "qemu.share", 0, OPT_ENUM, HOST, AT(share), 0, 0, shares, NULL,
	  "how QEMU's VMs get the container's files: 9p, or virtiofs, by cor-fsd, which is quicker with "
	  "files and knows ID-mapped mounts; such VMs boot, they are no clones" },
	{ "qemu.params", 0, OPT_WORDS, HOST, AT(qemu_params), 0, 0, NULL, NULL,
	  "arguments added to QEMU's command line" },
	{ "template", 0, OPT_BOOL, HOST, AT(template), 0, 0, NULL, NULL,
	  "start VMs as clones of a saved one where there is one of their shape, and save one where not" },
	{ "template.dir", 0, OPT_PATH, HOST, AT(template_dir), 0, 0, NULL, NULL,
	  "where templates are kept; only root may be able to write there" },
	{ "template.domain", 0, OPT_STR, HOST, AT(template_domain), 0, 0, NULL, "NAME",
	  "trust domain: only VMs of one domain share memory pages, those of their template" },
	{ "template.max_size", 0, OPT_SIZE, HOST, AT(template_max_size), 0, 16 * TIB, NULL, NULL,
	  "disk space of a domain's templates; the longest unused are removed; 0 is no limit" },
	{ "template.rest", 0, OPT_DURATION, HOST, AT(template_rest_ns), 0, 60 * SEC, NULL, NULL,
	  "how long a VM of cor-vmm is left alone before it is saved: what it does by then its clones do not "
	  "do again, each in memory of its own" },
	{ "ksm.domain", 0, OPT_STR, HOST, AT(ksm_domain), 0, 0, NULL, "NAME",
	  "VMs of this template.domain offer their memory to the host's KSM, which merges equal pages; "
	  "by default none does" },
	{ "pool", 0, OPT_U64, HOST, AT(pool), 0, POOL_MAX, NULL, NULL,
	  "how many clones of each template wait for the next containers; 0 is none" },
	{ "pool.fork", 0, OPT_BOOL, HOST, AT(pool_fork), 0, 0, NULL, NULL,
	  "if pool is not 0: one clone of each template waits, and containers get copies of it, which share "
	  "its memory; with QEMU's software emulation only" },
	{ "image.store", 0, OPT_PATH, HOST, AT(image_store), 0, 0, NULL, NULL,
	  "where cor-image keeps container images" },
	{ "image.convert", 0, OPT_BOOL, HOST, AT(image_convert), 0, 0, NULL, NULL,
	  "make images of a bundle's root, once, and run the container from them; what it writes stays in "
	  "the VM" },
	{ "image.verity", 0, OPT_ENUM, HOST, AT(image_verity), 0, 0, verity, NULL,
	  "layers of the store must be those whose fs-verity digest was noted: off doesn't look, on looks at "
	  "those that have one, require wants one of each" },
	{ "image.writable", 0, OPT_SIZE, HOST, AT(image_writable), 0, 16 * TIB, NULL, NULL,
	  "how much a container of an image may write over it, in the VM's memory; 0 is half of that" },
	{ "image.disk", 0, OPT_SIZE, HOST, AT(image_disk), 0, SETTINGS_DISK_MAX, NULL, NULL,
	  "instead of memory: what it writes goes to a sparse file of this size, which goes with it; 0 is "
	  "none" },
	{ "image.disk_dir", 0, OPT_PATH, HOST, AT(image_disk_dir), 0, 0, NULL, NULL,
	  "where these files take their space; only root may be able to write there" },
	{ "log.level", 0, OPT_ENUM, HOST, AT(log_level), 0, 0, log_levels, NULL,
	  "messages of this level and more urgent ones are logged; auto is info with --log, else warn" },
	{ "annotations.allow", 0, OPT_WORDS, HOST, AT(annotations_allow), 0, 0, NULL, NULL,
	  "keys of this file that annotations may set too: names, or beginnings followed by *" },
	{ "spec.allow", 0, OPT_WORDS, HOST, AT(spec_allow), 0, 0, NULL, NULL,
	  "fields of config.json's vm section that are honoured: vm.kernel, vm.kernel.initrd, "
	  "vm.hypervisor" },
};

const struct opt_table settings_table = OPT_TABLE(rows);

/* The vm section's names for our keys. */
static const struct {
	const char *field, *key;
} spec_fields[] = {
	{ "vm.kernel.path", "vm.kernel" },
	{ "vm.kernel.initrd", "vm.initrd" },
	{ "vm.kernel.parameters", "vm.kernel_params" },
	{ "vm.hypervisor.path", "qemu.path" },
	{ "vm.hypervisor.parameters", "qemu.params" },
	{ "vm.hwConfig.vcpus", "vm.vcpus" },
	{ "vm.hwConfig.memory", "vm.memory" },
};

int settings_init(struct settings *s, const char *osdir, struct err *e)
{
	const char *slash = strrchr(osdir, '/');

	*s = (struct settings){
		.memory = 512 * MIB,
		.memory_min = 128 * MIB,
		.memory_overhead = 96 * MIB,
		.vcpus = 1,
		.vcpus_max = 255,
		.boot_timeout_ns = 120 * SEC,
		.template = true,
		.template_domain = "default",
		.template_max_size = 4096 * MIB,
		.template_rest_ns = 5 * SEC,
		.image_store = "/var/lib/cor/images",
		.image_verity = SETTINGS_VERITY_ON,
	};
	s->kernel = arena_fmt(&s->mem, "%s/vmlinux", osdir);
	s->initrd = arena_fmt(&s->mem, "%s/initrd", osdir);
	/* beside the mini-OS: of an installed Cor in /var/lib/cor, of a build tree in the tree */
	s->template_dir = arena_fmt(&s->mem, "%.*s/templates", slash ? (int)(slash - osdir) : 0, osdir);
	s->image_disk_dir = arena_fmt(&s->mem, "%.*s/disks", slash ? (int)(slash - osdir) : 0, osdir);
	if (!s->kernel || !s->initrd || !s->template_dir || !s->image_disk_dir) {
		settings_fini(s);
		return err_set(e, -ENOMEM, "settings: %m");
	}
	return 0;
}

void settings_fini(struct settings *s)
{
	arena_fini(&s->mem);
	*s = (struct settings){ 0 };
}

static int check_minimum(const struct settings *s, const char *origin, struct err *e)
{
	char min[OPT_SIZE_TEXT], max[OPT_SIZE_TEXT];

	if (!s->memory_max || s->memory_min <= s->memory_max)
		return 0;
	return err_set(e, -ERANGE,
		       "vm.memory_min is %s, more than vm.memory_max, %s (after %s): change one of them",
		       opt_size_text(s->memory_min, min), opt_size_text(s->memory_max, max), origin);
}

/* Rules between two keys. `who` names the key as its author wrote it. */
static int check_bounds(const struct settings *s, const char *who, struct err *e)
{
	char is[OPT_SIZE_TEXT], limit[OPT_SIZE_TEXT];

	(void)opt_size_text(s->memory, is);
	if (s->vcpus > s->vcpus_max)
		return err_set(
			e, -ERANGE,
			"%s: %llu virtual CPUs are more than vm.vcpus_max, %llu: ask for less, or raise "
			"vm.vcpus_max in cor.conf",
			who, (unsigned long long)s->vcpus, (unsigned long long)s->vcpus_max);
	if (s->memory_max && s->memory > s->memory_max)
		return err_set(e, -ERANGE,
			       "%s: %s of memory is more than vm.memory_max, %s: ask for less, or raise "
			       "vm.memory_max in cor.conf",
			       who, is, opt_size_text(s->memory_max, limit));
	if (s->memory < s->memory_min)
		return err_set(e, -ERANGE,
			       "%s: %s of memory is less than vm.memory_min, %s: ask for more, or lower "
			       "vm.memory_min in cor.conf",
			       who, is, opt_size_text(s->memory_min, limit));
	return 0;
}

/* What was refused must not stay; the arena keeps its memory, harmlessly. */
static int undo(struct settings *s, const struct settings *before, int r)
{
	struct arena mem = s->mem;

	*s = *before;
	s->mem = mem;
	return r;
}

int settings_parse(struct settings *s, const char *name, const char *text, size_t n, struct err *e)
{
	struct opt_target t = { settings_table, s, &s->mem, OPT_FROM_FILE, name, NULL };
	const struct settings before = *s;
	int r = opt_parse_file(&t, text, n, e);

	if (r == 0)
		r = check_minimum(s, name, e);
	return r < 0 ? undo(s, &before, r) : 0;
}

/* Whoever may write this file decides which programs run as root. */
static int check_owner(int fd, const char *path, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "%s: %m", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "%s is no regular file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(e, -EPERM,
			       "%s belongs to user %u, who could change what runs as root: chown root it",
			       path, (unsigned)st.st_uid);
	if (st.st_mode & 022)
		return err_set(e, -EPERM, "%s can be written by others than its owner: chmod 644 it", path);
	return 0;
}

/* O_NONBLOCK: a fifo in the file's place must not hold us up. */
static int open_file(const char *path)
{
	int fd;

	do
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

int settings_load(struct settings *s, const char *path, bool required, struct err *e)
{
	scoped_fd fd = open_file(path);
	scoped_free char *text = NULL;
	size_t n = 0;
	int r;

	if (fd == -ENOENT && !required)
		return 0;
	if (fd < 0)
		return err_set(e, fd, "settings file %s: %m", path);
	r = check_owner(fd, path, e);
	if (r < 0)
		return r;
	r = io_read_all(fd, OPT_FILE_MAX, &text, &n);
	if (r < 0)
		return err_set(e, r, "settings file %s: %m", path);
	return settings_parse(s, path, text, n, e);
}

int settings_set_arg(struct settings *s, const char *arg, struct err *e)
{
	struct opt_target t = { settings_table, s, &s->mem, OPT_FROM_CLI, "--set", NULL };
	const struct settings before = *s;
	const char *eq = strchr(arg, '=');
	const struct opt *o;
	char *key;
	int r;

	if (!eq)
		return err_set(e, -EINVAL, "option --set: expected KEY=VALUE, such as vm.memory=512M");
	key = arena_strn(&s->mem, arg, (size_t)(eq - arg));
	if (!key)
		return err_set(e, -ENOMEM, "option --set: %m");
	o = opt_find(&settings_table, key);
	if (!o)
		return opt_unknown(&t, "key", key, e);
	if (!(o->from & OPT_FROM_CLI))
		return err_set(e, -EPERM, "option --set: %s can be set in cor.conf only", o->name);
	r = opt_set(&t, o, eq + 1, e);
	if (r == 0)
		r = check_minimum(s, "--set", e);
	return r < 0 ? undo(s, &before, r) : 0;
}

/* `pattern` matches the name itself, what lies below it, or, with a trailing `*`, what begins so. */
static bool pattern_matches(const char *pattern, const char *name)
{
	size_t n = strlen(pattern);

	if (n && pattern[n - 1] == '*')
		return strncmp(pattern, name, n - 1) == 0;
	return strncmp(pattern, name, n) == 0 && (name[n] == '\0' || name[n] == '.');
}

static bool any_matches(const struct opt_strs *patterns, const char *name)
{
	for (size_t i = 0; i < patterns->n; i++)
		if (pattern_matches(patterns->p[i], name))
			return true;
	return false;
}

/* No pattern opens the lists of patterns. */
static bool is_allow_list(const struct opt *o)
{
	return o->offset == AT(annotations_allow) || o->offset == AT(spec_allow);
}

static bool allows_row(const void *ctx, const struct opt *o, enum opt_from from)
{
	const struct settings *s = ctx;

	if (o->from & (unsigned)from)
		return true;
	return from == OPT_FROM_ANNOTATION && !is_allow_list(o) &&
	       any_matches(&s->annotations_allow, o->name);
}

static const struct opt *spec_row(const char *field)
{
	for (size_t i = 0; i < ARRAY_LEN(spec_fields); i++)
		if (strcmp(spec_fields[i].field, field) == 0)
			return opt_find(&settings_table, spec_fields[i].key);
	return NULL;
}

bool settings_allows(const struct settings *s, const char *key, enum opt_from from)
{
	const struct opt *o = from == OPT_FROM_SPEC ? spec_row(key) : opt_find(&settings_table, key);

	if (!o)
		return false;
	if (from == OPT_FROM_SPEC && any_matches(&s->spec_allow, key))
		return true;
	return allows_row(s, o, from);
}

/* After config.json set row `o`: remembers that it did, and refuses what is out of the host's bounds. */
static int after_config(struct settings *s, const struct opt *o, const char *who, struct err *e)
{
	if (o->offset == AT(memory))
		s->memory_asked = true;
	if (o->offset == AT(vcpus))
		s->vcpus_asked = true;
	return check_bounds(s, who, e);
}

int settings_set_annotation(struct settings *s, const char *key, const char *value, struct err *e)
{
	struct opt_target t = { settings_table, s, &s->mem, OPT_FROM_ANNOTATION, "config.json's annotations",
				SETTINGS_PREFIX };
	const struct settings before = *s;
	bool ours = false;
	int r = opt_set_annotation(&t, key, value, allows_row, s, &ours, e);

	if (r < 0 || !ours)
		return r;
	r = after_config(s, opt_find(&settings_table, key + strlen(SETTINGS_PREFIX)), key, e);
	return r < 0 ? undo(s, &before, r) : 0;
}

int settings_set_spec(struct settings *s, const char *field, const char *value, struct err *e)
{
	struct opt_target t = { settings_table, s, &s->mem, OPT_FROM_SPEC, "config.json", NULL };
	const struct settings before = *s;
	const struct opt *o = spec_row(field);
	int r;

	if (!o) {
		scoped_str name = { 0 };

		opt_add_quoted(&name, field);
		return err_set(e, -EINVAL, "%s can't be set in config.json", name.p ? name.p : "this field");
	}
	if (!settings_allows(s, field, OPT_FROM_SPEC))
		return err_set(
			e, -EPERM,
			"%s in config.json is not allowed: this host alone decides it; its administrator can "
			"open it with \"spec.allow = %s\" in cor.conf",
			field, field);
	r = opt_set(&t, o, value, e);
	if (r < 0) {
		(void)err_wrap(e, "%s", field);
		return r;
	}
	r = after_config(s, o, field, e);
	return r < 0 ? undo(s, &before, r) : 0;
}

uint64_t settings_vm_memory(const struct settings *s, uint64_t limit, uint64_t host_memory)
{
	uint64_t v = s->memory, max = s->memory_max ? s->memory_max : UINT64_MAX;

	if (limit && !s->memory_asked) {
		if (host_memory)
			max = num_min(max, host_memory);
		if (num_add(limit, s->memory_overhead, &v) < 0)
			v = max;
		v = num_min(v, max);
	}
	v = num_max(v, s->memory_min);
	return num_min(v, 16 * TIB) / MIB * MIB;
}

unsigned settings_vm_vcpus(const struct settings *s, uint64_t quota, uint64_t period, unsigned cpus,
			   unsigned host_cpus)
{
	uint64_t v = s->vcpus;

	if (!s->vcpus_asked) {
		if (quota && period)
			v = quota / period + (quota % period != 0);
		if (cpus)
			v = quota && period ? num_min(v, cpus) : cpus;
		if (host_cpus && ((quota && period) || cpus))
			v = num_min(v, host_cpus);
		v = num_min(v, s->vcpus_max);
	}
	return v ? (unsigned)v : 1;
}

void settings_json(struct str *to, const struct settings *s)
{
	opt_json(to, &settings_table, s);
}
