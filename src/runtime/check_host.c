/* check_host.c - questions about the host: rights, kernel, CPU, KVM, memory, cgroups.
 * Called through the table by check.c. Trusts: procfs and sysfs. Never: changes them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "base/num.h"
#include "hyper/hyper.h"
#include "runtime/check.h"
#include "sys/caps.h"
#include "sys/cgroup.h"

#define KVM_PROBE_MS 1000 /* nobody waits for a container here: a slow host gets its time */
#define MIB          (1u << 20)
#define NOFILE_MIN   1024 /* QEMU's 9p server keeps files of the guest open */
#define KSM          "/sys/kernel/mm/ksm/"

static int set(struct check_item *it, enum check_result result, const char *found)
{
	it->result = result;
	str_add(&it->found, found);
	return 0;
}

/* --- rights --- */

static const struct {
	unsigned cap;
	const char *name;
} caps_needed[] = {
	{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN" }, { CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE" },
	{ CAP_CHOWN, "CAP_CHOWN" },         { CAP_FOWNER, "CAP_FOWNER" },
	{ CAP_MKNOD, "CAP_MKNOD" },         { CAP_SETUID, "CAP_SETUID" },
	{ CAP_SETGID, "CAP_SETGID" },       { CAP_KILL, "CAP_KILL" },
};

static int ask_rights(struct check_ctx *c, struct check_item *it)
{
	struct caps_sets caps;
	const char *sep = "without ";
	int r;

	if (geteuid() != 0) {
		str_addf(&it->found, "user %u, not root", (unsigned)geteuid());
		it->result = CHECK_MISSING;
		it->remedy = "run cor as root (sudo)";
		return 0;
	}
	r = caps_get(&caps);
	if (r < 0)
		return set(it, CHECK_MISSING, "the capabilities can't be read");
	str_add(&it->found, "root ");
	for (size_t i = 0; i < ARRAY_LEN(caps_needed); i++) {
		if (caps.effective & (1ull << caps_needed[i].cap))
			continue;
		str_addf(&it->found, "%s%s", sep, caps_needed[i].name);
		sep = ", ";
		it->result = caps_needed[i].cap == CAP_SYS_ADMIN || it->result == CHECK_MISSING
				     ? CHECK_MISSING
				     : CHECK_DEGRADED;
	}
	if (it->result == CHECK_OK)
		str_add(&it->found, "with all capabilities that are needed");
	return 0;
}

/* --- the host's kernel --- */

static const struct {
	long nr;
	const char *name;
} calls_needed[] = {
	{ SYS_pidfd_open, "pidfd_open" },
	{ SYS_openat2, "openat2" },
	{ SYS_mount_setattr, "mount_setattr" },
};

static int ask_kernel(struct check_ctx *c, struct check_item *it)
{
	const char *sep = ", without ";
	struct utsname un;

	if (uname(&un) < 0)
		return set(it, CHECK_MISSING, "uname failed");
	str_addf(&it->found, "Linux %s", un.release);
	for (size_t i = 0; i < ARRAY_LEN(calls_needed); i++) {
		/* Arguments that every kernel refuses: only "no such call" is told apart. */
		if (syscall(calls_needed[i].nr, -1, NULL, -1L, NULL, 0) >= 0 || errno != ENOSYS)
			continue;
		str_addf(&it->found, "%s%s", sep, calls_needed[i].name);
		sep = ", ";
		it->result = CHECK_MISSING;
	}
	return 0;
}

/* --- CPU and KVM --- */

/* Does a line "KEY : ...word..." of cpuinfo hold the word? */
static bool cpu_has(const char *cpuinfo, const char *key, const char *word)
{
	size_t key_len = strlen(key), word_len = strlen(word);
	const char *line, *end, *p;

	for (line = cpuinfo; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, key_len) != 0 || !strchr("\t :", line[key_len]))
			continue;
		end = line + strcspn(line, "\n");
		for (p = strchr(line, ':'); p && p < end; p = strpbrk(p + 1, " \n"))
			if (strncmp(p + 1, word, word_len) == 0 && strchr(" \n", p[1 + word_len]))
				return true;
	}
	return false;
}

static int ask_cpu(struct check_ctx *c, struct check_item *it)
{
	scoped_free char *info = check_read(c, "/proc/cpuinfo");

	if (!info)
		return set(it, CHECK_MISSING, "/proc/cpuinfo can't be read");
	if (cpu_has(info, "flags", "vmx"))
		return set(it, CHECK_OK, "Intel VT-x (vmx)");
	if (cpu_has(info, "flags", "svm"))
		return set(it, CHECK_OK, "AMD-V (svm)");
	if (cpu_has(info, "flags", "hypervisor"))
		it->remedy = "this host is a virtual machine: ask for nested virtualization where it runs";
	return set(it, CHECK_MISSING, "neither vmx nor svm");
}

static int ask_nested_paging(struct check_ctx *c, struct check_item *it)
{
	scoped_free char *info = check_read(c, "/proc/cpuinfo");

	if (info && (cpu_has(info, "vmx flags", "ept") || cpu_has(info, "flags", "ept")))
		return set(it, CHECK_OK, "EPT");
	if (info && cpu_has(info, "flags", "npt"))
		return set(it, CHECK_OK, "NPT");
	return set(it, CHECK_MISSING, "neither EPT nor NPT");
}

static int ask_kvm(struct check_ctx *c, struct check_item *it)
{
	const char *dev = check_path(c, "/dev/kvm");
	struct err why = { 0 };
	int r;

	if (!dev)
		return -ENOMEM;
	r = kvm_probe(dev, KVM_PROBE_MS, &why);
	if (c->settings->accel == SETTINGS_ACCEL_TCG) {
		str_add(&it->found, r < 0 ? "switched off by qemu.accel = tcg"
					  : "works, switched off by qemu.accel = tcg");
		it->remedy = "set qemu.accel = auto in cor.conf";
		it->result = CHECK_DEGRADED;
		return 0;
	}
	c->kvm = r == 0;
	if (c->kvm)
		return set(it, CHECK_OK, "guest code ran");
	it->required = c->settings->accel == SETTINGS_ACCEL_KVM;
	if (it->required) {
		it->cost = "qemu.accel = kvm in cor.conf forbids software emulation: no container runs";
		it->remedy = "make KVM work, or set qemu.accel = auto in cor.conf";
	} else if (r == -EACCES || r == -EPERM) {
		it->remedy = "run cor as root, or let this user into the group kvm";
	} else if (r == -ENOENT) {
		it->remedy = "modprobe kvm_intel (or kvm_amd); it needs CPU virtualization";
	}
	return set(it, CHECK_MISSING, why.msg);
}

static int ask_nested(struct check_ctx *c, struct check_item *it)
{
	static const char *const files[] = { "/sys/module/kvm_intel/parameters/nested",
					     "/sys/module/kvm_amd/parameters/nested" };

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		scoped_free char *text = check_read(c, files[i]);

		if (text && (*text == 'Y' || *text == '1'))
			return set(it, CHECK_OK, "on");
		if (text)
			return set(it, CHECK_DEGRADED, "off");
	}
	return set(it, CHECK_MISSING, "the KVM modules are not loaded");
}

/* --- memory --- */

/* The number that a file begins with; 0 if there is none. */
static uint64_t number_in(const struct check_ctx *c, const char *path)
{
	scoped_free char *text = check_read(c, path);
	uint64_t n = 0;

	if (text)
		text[strcspn(text, ". \n")] = '\0';
	return text && num_parse_u64(text, &n) == 0 ? n : 0;
}

/* Clock ticks that the kernel's thread for merging has used, from the text of its stat file; false: it is
 * another process'. Name and state are between the pid and ten numbers. */
static bool ksmd_ticks(const char *stat, uint64_t *ret)
{
	const char *p = strstr(stat, " (ksmd) ");
	uint64_t user, system;
	scoped_strv v = { 0 };

	if (!p)
		return false;
	strv_split(&v, p, ' ');
	if (v.n < 15 || num_parse_u64(v.p[13], &user) < 0 || num_parse_u64(v.p[14], &system) < 0)
		return false;
	*ret = user + system;
	return true;
}

/* What merging costs: ksmd's share of a CPU, in thousandths, since the host was started. */
static bool ksmd_share(const struct check_ctx *c, uint64_t *ret)
{
	const char *proc = check_path(c, "/proc");
	uint64_t up = number_in(c, "/proc/uptime"), ticks, hz = (uint64_t)sysconf(_SC_CLK_TCK);
	scoped_dir d = proc ? opendir(proc) : NULL;
	struct dirent *ent;

	while (d && up > 0 && (ent = readdir(d)) != NULL) {
		scoped_free char *path = str_fmt("/proc/%s/stat", ent->d_name), *stat = NULL;

		if (ent->d_name[0] < '1' || ent->d_name[0] > '9')
			continue;
		stat = path ? check_read(c, path) : NULL;
		if (!stat || !ksmd_ticks(stat, &ticks))
			continue;
		*ret = ticks * 1000 / hz / up;
		return true;
	}
	return false;
}

static void describe_ksm(const struct check_ctx *c, struct str *to)
{
	uint64_t saved, share, page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (num_mul(number_in(c, KSM "pages_sharing"), page, &saved) < 0)
		saved = 0;
	str_addf(to, "on, %llu MiB saved, %llu pages looked at each %llu ms",
		 (unsigned long long)(saved / MIB), (unsigned long long)number_in(c, KSM "pages_to_scan"),
		 (unsigned long long)number_in(c, KSM "sleep_millisecs"));
	if (ksmd_share(c, &share))
		str_addf(to, ", %llu.%llu %% of a CPU since the host's start",
			 (unsigned long long)(share / 10), (unsigned long long)(share % 10));
}

static int ask_ksm(struct check_ctx *c, struct check_item *it)
{
	const char *domain = c->settings->ksm_domain;
	scoped_free char *run = check_read(c, KSM "run");

	if (!run)
		return set(it, CHECK_MISSING, "not in this kernel");
	if (*run == '1')
		describe_ksm(c, &it->found);
	else
		str_add(&it->found, "off");
	if (domain)
		str_addf(&it->found, "; VMs of template.domain %s offer it their memory", domain);
	else
		str_add(&it->found, "; VMs don't offer it their memory (ksm.domain)");
	if (domain && *run != '1') {
		it->result = CHECK_DEGRADED;
		it->remedy = "echo 1 > " KSM "run; it costs CPU time all the time: see pages_to_scan and "
			     "sleep_millisecs beside that file";
	}
	return 0;
}

/* The number of a line "Key:   123 kB" of meminfo, in bytes. */
static uint64_t meminfo(const char *text, const char *key)
{
	const char *line = strstr(text, key);
	char digits[24];
	uint64_t kib, bytes;
	size_t n;

	if (!line)
		return 0;
	line += strlen(key);
	line += strspn(line, " ");
	n = strspn(line, "0123456789");
	if (n == 0 || n >= sizeof digits)
		return 0;
	memcpy(digits, line, n);
	digits[n] = '\0';
	return num_parse_u64(digits, &kib) == 0 && num_mul(kib, 1024, &bytes) == 0 ? bytes : 0;
}

static int ask_memory(struct check_ctx *c, struct check_item *it)
{
	scoped_free char *text = check_read(c, "/proc/meminfo");
	uint64_t avail = text ? meminfo(text, "\nMemAvailable:") : 0;

	str_addf(&it->found, "%llu MiB available, %llu MiB for a VM without a limit",
		 (unsigned long long)(avail / MIB), (unsigned long long)(c->settings->memory / MIB));
	if (avail < c->settings->memory)
		it->result = CHECK_DEGRADED;
	return 0;
}

/* --- cgroups --- */

/* What the limits of containers need: v1 name, v2 name. */
static const struct {
	const char *v1, *v2;
} controllers_needed[] = {
	{ "memory", "memory" },
	{ "cpu", "cpu" },
	{ "cpuset", "cpuset" },
	{ "blkio", "io" },
};

static int describe_cgroups(const struct cgroup_layout *l, struct check_item *it)
{
	const char *sep = ", without ";

	str_add(&it->found, cgroup_kind_name(l->kind));
	for (size_t i = 0; i < ARRAY_LEN(controllers_needed); i++) {
		if (cgroup_layout_has(l, controllers_needed[i].v1) ||
		    cgroup_layout_has(l, controllers_needed[i].v2))
			continue;
		str_addf(&it->found, "%s%s", sep, controllers_needed[i].v2);
		sep = ", ";
		it->result = CHECK_DEGRADED;
	}
	for (size_t i = 0; i < l->n; i++) {
		if (access(l->hiers[i].mount, W_OK) == 0)
			continue;
		str_addf(&it->found, ", %s can't be written", l->hiers[i].mount);
		it->result = CHECK_DEGRADED;
		it->remedy = "run cor as root where the cgroup file systems are mounted read-write";
	}
	return 0;
}

static int ask_cgroups(struct check_ctx *c, struct check_item *it)
{
	scoped_free char *text = check_read(c, "/proc/self/mountinfo");
	struct cgroup_layout l = { 0 };
	int r;

	if (!text)
		return set(it, CHECK_MISSING, "/proc/self/mountinfo can't be read");
	r = cgroup_layout_parse(text, &l);
	if (r < 0)
		return r;
	if (l.kind == CGROUP_NONE) {
		it->remedy = "mount -t cgroup2 none /sys/fs/cgroup";
		r = set(it, CHECK_MISSING, "no hierarchy is mounted");
	} else {
		r = describe_cgroups(&l, it);
	}
	cgroup_layout_fini(&l);
	return r;
}

static int ask_systemd(struct check_ctx *c, struct check_item *it)
{
	const char *run = check_path(c, "/run/systemd/system");
	const char *tool = check_path(c, "/usr/bin/busctl");

	if (!run || !tool)
		return -ENOMEM;
	if (access(run, F_OK) < 0)
		return set(it, CHECK_OK, "does not run here: cgroups are made directly");
	if (access(tool, X_OK) == 0)
		return set(it, CHECK_OK, "runs, and busctl is there for scopes");
	it->remedy = "install the package systemd (busctl), or use --cgroup-manager cgroupfs";
	return set(it, CHECK_DEGRADED, "runs, but busctl is missing");
}

/* --- other --- */

static int ask_tun(struct check_ctx *c, struct check_item *it)
{
	const char *path = check_path(c, "/dev/net/tun");
	scoped_fd fd = -1;

	if (!path)
		return -ENOMEM;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return set(it, CHECK_OK, "/dev/net/tun opens");
	str_addf(&it->found, "/dev/net/tun: %s", strerror(errno));
	it->result = CHECK_MISSING;
	return 0;
}

static int ask_limits(struct check_ctx *c, struct check_item *it)
{
	struct rlimit files = { 0 }, procs = { 0 };

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || getrlimit(RLIMIT_NPROC, &procs) < 0)
		return set(it, CHECK_DEGRADED, "can't be read");
	str_addf(&it->found, "%llu open files", (unsigned long long)files.rlim_max);
	if (procs.rlim_max == RLIM_INFINITY)
		str_add(&it->found, ", any number of processes");
	else
		str_addf(&it->found, ", %llu processes", (unsigned long long)procs.rlim_max);
	if (files.rlim_max < NOFILE_MIN)
		it->result = CHECK_DEGRADED;
	return 0;
}

#define SLOW "VMs run by software emulation: a start takes seconds, computing is many times slower"

const struct check_row check_host_rows[] = {
	{ "rights", "rights", true, "mounts, namespaces and cgroups of VMs can't be made",
	  "run cor as root, with its capabilities", ask_rights },
	{ "host-kernel", "host kernel", true, "no container can be started", "Linux 5.12 or later",
	  ask_kernel },
	{ "cpu-virtualization", "CPU virtualization", false, "KVM can't work",
	  "switch on VT-x or AMD-V in the firmware", ask_cpu },
	{ "nested-paging", "EPT or NPT", false, "KVM, where it works at all, is much slower",
	  "a CPU with EPT or NPT, or a hypervisor below that shows it", ask_nested_paging },
	{ "kvm", "KVM", false, SLOW,
	  "a host whose KVM can run guest code; inside a VM: nested virtualization", ask_kvm },
	{ "nested", "nested KVM", false, "containers can't use KVM themselves",
	  "modprobe kvm_intel nested=1 (or kvm_amd)", ask_nested },
	{ "memory", "memory", false, "a VM may push the host into swap, or be killed",
	  "free memory, or a smaller vm.memory in cor.conf", ask_memory },
	{ "ksm", "KSM", false, "equal pages of VMs (ksm.domain) are not merged", "a kernel with CONFIG_KSM",
	  ask_ksm },
	{ "cgroups", "cgroups", false,
	  "the host can't limit what a VM takes; the guest still limits the container",
	  "mount the missing controllers", ask_cgroups },
	{ "systemd", "systemd", false, "--systemd-cgroup fails", "install the package systemd", ask_systemd },
	{ "tun", "tun device", false, "nothing yet: VMs have no network but lo", "modprobe tun", ask_tun },
	{ "limits", "limits of this user", false, "QEMU may run out of files", "ulimit -n 65536",
	  ask_limits },
};
const size_t check_n_host_rows = ARRAY_LEN(check_host_rows);
