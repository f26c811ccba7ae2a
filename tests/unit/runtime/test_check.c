/* `cor check` on made-up hosts: files below a directory that stands for /. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/io.h"
#include "oci/json.h"
#include "runtime/check.h"

#define KSM "/sys/kernel/mm/ksm/"

struct host {
	char dir[64];
	struct settings settings;
	struct arena mem;
	struct check_report report;
	struct check_item one; /* for questions asked alone */
};

static void put(struct host *h, const char *path, const char *text, mode_t mode)
{
	scoped_free char *full = str_fmt("%s%s", h->dir, path);
	scoped_free char *parent = strdup(full);
	scoped_fd fd = -1;

	*strrchr(parent, '/') = '\0';
	assert_int_equal(io_mkdirs(parent, 0755), 0);
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
}

static int setup(void **state)
{
	struct host *h = calloc(1, sizeof *h);

	assert_non_null(h);
	(void)snprintf(h->dir, sizeof h->dir, "/tmp/cor-check-XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	assert_int_equal(settings_init(&h->settings, arena_fmt(&h->mem, "%s/os", h->dir), NULL), 0);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	struct host *h = *state;

	check_fini(&h->report);
	str_fini(&h->one.found);
	settings_fini(&h->settings);
	arena_fini(&h->mem);
	assert_int_equal(io_remove_tree_at(AT_FDCWD, h->dir), 0);
	free(h);
	return 0;
}

static const struct check_row *row_of(const char *name)
{
	for (size_t i = 0; i < check_n_host_rows; i++)
		if (str_eq(check_host_rows[i].name, name))
			return &check_host_rows[i];
	for (size_t i = 0; i < check_n_part_rows; i++)
		if (str_eq(check_part_rows[i].name, name))
			return &check_part_rows[i];
	fail_msg("no question %s", name);
	return NULL;
}

/* Asks one question (those about QEMU need the first to have been asked: `qemu`). */
static void ask_with(struct host *h, const char *name, char *qemu, enum check_result want, const char *words)
{
	const struct check_row *row = row_of(name);
	struct check_ctx c = { .settings = &h->settings,
			       .sysroot = h->dir,
			       .libexecdir = h->dir,
			       .mem = &h->mem,
			       .qemu = qemu };

	str_fini(&h->one.found);
	h->one = (struct check_item){
		.row = row, .required = row->required, .cost = row->cost, .remedy = row->remedy
	};
	assert_int_equal(row->ask(&c, &h->one), 0);
	if (h->one.result != want || !h->one.found.p || !strstr(h->one.found.p, words))
		fail_msg("%s: %s, \"%s\"; wanted %s, \"%s\"", name, check_result_name(h->one.result),
			 h->one.found.p ? h->one.found.p : "", check_result_name(want), words);
}

static void ask(struct host *h, const char *name, enum check_result want, const char *words)
{
	ask_with(h, name, NULL, want, words);
}

static void test_cpu(void **state)
{
	static const struct {
		const char *info;
		enum check_result cpu, paging;
		const char *cpu_words, *paging_words;
	} cases[] = {
		{ "processor : 0\nflags\t\t: fpu vmx sse\nvmx flags\t: vnmi ept vpid\n", CHECK_OK, CHECK_OK,
		  "VT-x", "EPT" },
		{ "flags\t\t: fpu vmx\nvmx flags\t: vnmi ept_ad\n", CHECK_OK, CHECK_MISSING, "VT-x",
		  "neither" },
		{ "flags\t\t: svm npt\n", CHECK_OK, CHECK_OK, "AMD-V", "NPT" },
		{ "flags : fpu avx512_vmx svml\nbugs : vmx svm\n", CHECK_MISSING, CHECK_MISSING,
		  "neither vmx", "neither" },
		{ "", CHECK_MISSING, CHECK_MISSING, "neither", "neither" },
	};
	struct host *h = *state;

	ask(h, "cpu-virtualization", CHECK_MISSING, "can't be read");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		put(h, "/proc/cpuinfo", cases[i].info, 0644);
		ask(h, "cpu-virtualization", cases[i].cpu, cases[i].cpu_words);
		ask(h, "nested-paging", cases[i].paging, cases[i].paging_words);
	}
	put(h, "/proc/cpuinfo", "flags : hypervisor\n", 0644);
	ask(h, "cpu-virtualization", CHECK_MISSING, "neither");
	assert_non_null(strstr(h->one.remedy, "nested virtualization"));
}

static void test_kvm(void **state)
{
	struct host *h = *state;

	ask(h, "kvm", CHECK_MISSING, "kvm");
	assert_false(h->one.required);
	assert_non_null(strstr(h->one.remedy, "modprobe"));
	/* a file that is no KVM */
	put(h, "/dev/kvm", "", 0644);
	ask(h, "kvm", CHECK_MISSING, "kvm");
	h->settings.accel = SETTINGS_ACCEL_KVM;
	ask(h, "kvm", CHECK_MISSING, "kvm");
	assert_true(h->one.required);
	h->settings.accel = SETTINGS_ACCEL_TCG;
	ask(h, "kvm", CHECK_DEGRADED, "switched off");
	assert_false(h->one.required);
}

static void test_small(void **state)
{
	struct host *h = *state;

	ask(h, "nested", CHECK_MISSING, "not loaded");
	put(h, "/sys/module/kvm_amd/parameters/nested", "1\n", 0644);
	ask(h, "nested", CHECK_OK, "on");
	put(h, "/sys/module/kvm_intel/parameters/nested", "N\n", 0644);
	ask(h, "nested", CHECK_DEGRADED, "off");
	ask(h, "ksm", CHECK_MISSING, "not in this kernel");
	put(h, KSM "run", "0\n", 0644);
	ask(h, "ksm", CHECK_OK, "off; VMs don't offer it their memory (ksm.domain)");
	h->settings.ksm_domain = "a";
	ask(h, "ksm", CHECK_DEGRADED, "off; VMs of template.domain a offer it their memory");
	assert_non_null(strstr(h->one.remedy, "echo 1 > /sys/kernel/mm/ksm/run"));
	put(h, KSM "run", "1\n", 0644);
	put(h, KSM "pages_sharing", "1280\n", 0644);
	put(h, KSM "pages_to_scan", "100\n", 0644);
	put(h, KSM "sleep_millisecs", "20\n", 0644);
	ask(h, "ksm", CHECK_OK, "on, 5 MiB saved, 100 pages looked at each 20 ms; VMs of");
	put(h, "/proc/uptime", "1000.25 17.00\n", 0644);
	put(h, "/proc/1/stat", "1 (init) S 0 0 0 0 -1 0 0 0 0 0 999 999 0 0\n", 0644);
	put(h, "/proc/45/stat", "45 (ksmd) S 2 0 0 0 -1 0 0 0 0 0 1000 2250 0 0 25 5\n", 0644);
	ask(h, "ksm", CHECK_OK, "each 20 ms, 3.2 % of a CPU since the host's start; VMs");
	put(h, "/proc/45/stat", "45 (ksmd) S 2 0", 0644);
	ask(h, "ksm", CHECK_OK, "each 20 ms; VMs");
	ask(h, "memory", CHECK_DEGRADED, "0 MiB available");
	put(h, "/proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable:    2097152 kB\n", 0644);
	ask(h, "memory", CHECK_OK, "2048 MiB available");
	ask(h, "tun", CHECK_MISSING, "No such file");
	put(h, "/dev/net/tun", "", 0600);
	ask(h, "tun", CHECK_OK, "opens");
	ask(h, "systemd", CHECK_OK, "does not run");
	put(h, "/run/systemd/system/x", "", 0644);
	ask(h, "systemd", CHECK_DEGRADED, "busctl is missing");
	put(h, "/usr/bin/busctl", "", 0755);
	ask(h, "systemd", CHECK_OK, "scopes");
}

static void test_cgroups(void **state)
{
	struct host *h = *state;
	scoped_free char *text = str_fmt("30 23 0:26 / %s rw - cgroup2 cgroup rw\n", h->dir);

	ask(h, "cgroups", CHECK_MISSING, "can't be read");
	put(h, "/proc/self/mountinfo", "1 1 0:1 / / rw - ext4 x rw\n", 0644);
	ask(h, "cgroups", CHECK_MISSING, "no hierarchy");
	put(h, "/proc/self/mountinfo", text, 0644);
	put(h, "/cgroup.controllers", "cpuset cpu memory pids\n", 0644);
	ask(h, "cgroups", CHECK_DEGRADED, "v2, without io");
	put(h, "/cgroup.controllers", "cpuset cpu io memory pids\n", 0644);
	ask(h, "cgroups", CHECK_OK, "v2");
}

/* A QEMU that says what the test wants. */
static char *fake_qemu(struct host *h, const char *script)
{
	scoped_free char *text = str_fmt("#!/bin/sh\n%s\n", script);

	put(h, "/qemu", text, 0755);
	h->settings.qemu_path = arena_fmt(&h->mem, "%s/qemu", h->dir);
	return arena_str(&h->mem, h->settings.qemu_path);
}

static void test_qemu(void **state)
{
	struct host *h = *state;
	scoped_free char *dirs = str_fmt("echo /nonexistent; echo %s/fw", h->dir);
	char *path;

	h->settings.qemu_path = "/nonexistent/qemu";
	ask(h, "qemu", CHECK_MISSING, "/nonexistent/qemu");
	ask(h, "qboot", CHECK_MISSING, "can't be asked");
	path = fake_qemu(h, "echo 'QEMU emulator version 7.2.22 (Debian)'");
	ask(h, "qemu", CHECK_OK, "7.2");
	ask_with(h, "qemu-devices", path, CHECK_MISSING, "without \"virtio-serial-pci\", \"virtserialport\"");
	(void)fake_qemu(h, "echo 'QEMU emulator version 10.0.1'");
	ask(h, "qemu", CHECK_OK, "10.0");
	(void)fake_qemu(h, "echo 'QEMU emulator version 6.9.0'");
	ask(h, "qemu", CHECK_MISSING, "6.9, older than 7.2");
	(void)fake_qemu(h, "echo hello");
	ask(h, "qemu", CHECK_DEGRADED, "does not say");
	(void)fake_qemu(h, "exit 3");
	ask(h, "qemu", CHECK_MISSING, "does not run");
	path = fake_qemu(h, dirs);
	ask_with(h, "qboot", path, CHECK_MISSING, "none of QEMU's");
	put(h, "/fw/qboot.rom", "x", 0644);
	ask_with(h, "qboot", path, CHECK_OK, "/fw/qboot.rom");
}

/* Where cor-vmm runs containers, nobody needs QEMU. */
static void test_vmm(void **state)
{
	static const char *const names[] = { "vmm", "qemu", "qemu-devices", "qboot" };
	struct host *h = *state;
	struct check_ctx c = {
		.settings = &h->settings, .sysroot = h->dir, .libexecdir = h->dir, .mem = &h->mem
	};

	h->settings.qemu_path = "/nonexistent/qemu";
	ask(h, "vmm", CHECK_OK, "not used");
	h->settings.qemu_path = NULL;
	ask(h, "vmm", CHECK_MISSING, "cor-vmm");
	assert_false(h->one.required);
	put(h, "/cor-vmm", "x", 0755);
	put(h, "/cor-jail", "x", 0755);
	put(h, "/cor-fsd", "x", 0755);
	ask(h, "vmm", CHECK_OK, "needs KVM");
	h->settings.hypervisor = SETTINGS_HV_KVM;
	ask(h, "vmm", CHECK_MISSING, "needs KVM");
	assert_true(h->one.required);
	for (int kvm = 0; kvm < 2; kvm++) {
		h->settings.hypervisor = SETTINGS_HV_AUTO;
		c.kvm = kvm;
		c.vmm = false;
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			struct check_item it = { .row = row_of(names[i]),
						 .required = row_of(names[i])->required };

			assert_int_equal(it.row->ask(&c, &it), 0);
			assert_int_equal(it.required, i > 0 && !kvm);
			str_fini(&it.found);
		}
		assert_int_equal(c.vmm, kvm);
	}
}

static void test_mini_os(void **state)
{
	struct host *h = *state;

	ask(h, "guest-kernel", CHECK_MISSING, "No such file");
	put(h, "/os/vmlinux", "MZ..bzImage", 0644);
	ask(h, "guest-kernel", CHECK_MISSING, "no ELF");
	put(h, "/os/vmlinux", "\177ELF....", 0644);
	ask(h, "guest-kernel", CHECK_OK, "vmlinux");
	put(h, "/os/manifest", "cor-os 1\nrelease 6.1.0-x\norigin y\n", 0644);
	ask(h, "guest-kernel", CHECK_OK, "vmlinux, Linux 6.1.0-x");
	ask(h, "initrd", CHECK_MISSING, "No such file");
	put(h, "/os/initrd", "", 0644);
	ask(h, "initrd", CHECK_MISSING, "empty");
	put(h, "/os/initrd", "0707...", 0644);
	ask(h, "initrd", CHECK_OK, "1 MiB");
	ask(h, "monitor", CHECK_MISSING, "cor-monitor");
}

static void test_templates(void **state)
{
	struct host *h = *state;
	scoped_free char *none = str_fmt("%s/templates", h->dir), *dir = str_fmt("%s/default", none);
	const char *domain = h->settings.template_domain;

	ask(h, "templates", CHECK_OK, "0 in ");
	assert_int_equal(access(none, F_OK), -1); /* it only looks */
	assert_int_equal(io_mkdirs(dir, 0700), 0);
	assert_int_equal(chmod(dir, 0777), 0);
	ask(h, "templates", CHECK_DEGRADED, "can be written by others");
	assert_int_equal(chmod(dir, 0700), 0);
	ask(h, "templates", CHECK_OK, "0 in ");
	h->settings.template_domain = "a b";
	ask(h, "templates", CHECK_DEGRADED, "template.domain = a b");
	h->settings.template_domain = domain;
	h->settings.template = false;
	ask(h, "templates", CHECK_OK, "off");
}

/* A bare host: not ready, every answer has words, and the JSON says the same as the text. */
static void test_report(void **state)
{
	struct host *h = *state;
	struct check_ctx c = {
		.settings = &h->settings, .sysroot = h->dir, .libexecdir = h->dir, .mem = &h->mem
	};
	scoped_str text = { 0 }, json = { 0 };
	const struct json *items, *it;
	struct json *doc = NULL;
	size_t n = 0;
	bool ready;

	assert_int_equal(check_run(&c, &h->report, NULL), 0);
	assert_false(h->report.ready);
	assert_int_equal(h->report.n, check_n_host_rows + check_n_part_rows);
	check_text(&h->report, &text);
	check_json(&h->report, &json);
	assert_int_equal(str_check(&text), 0);
	assert_non_null(strstr(text.p, "This host can't run containers yet: missing: "));
	assert_non_null(strstr(text.p, "guest kernel, mini-OS."));
	assert_int_equal(json_parse(json.p, json.len, "check", &h->mem, &doc, NULL), 0);
	assert_int_equal(json_bool(json_get(doc, "ready"), &ready, NULL), 0);
	assert_false(ready);
	items = json_get(doc, "items");
	for (it = items->first; it; it = it->next, n++) {
		const struct check_item *have = &h->report.items[n];
		const char *s = NULL;

		assert_int_equal(json_string(json_get(it, "name"), &s, NULL), 0);
		assert_string_equal(s, have->row->name);
		assert_int_equal(json_string(json_get(it, "result"), &s, NULL), 0);
		assert_string_equal(s, check_result_name(have->result));
		assert_int_equal(json_string(json_get(it, "found"), &s, NULL), 0);
		assert_true(*s != '\0');
		if (have->result == CHECK_OK)
			continue;
		assert_int_equal(json_string(json_get(it, "cost"), &s, NULL), 0);
		assert_true(*s != '\0');
		assert_int_equal(json_string(json_get(it, "cure"), &s, NULL), 0);
		assert_true(*s != '\0');
	}
	assert_int_equal(n, h->report.n);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_cpu), TEST(test_kvm),     TEST(test_small),     TEST(test_cgroups), TEST(test_qemu),
		TEST(test_vmm), TEST(test_mini_os), TEST(test_templates), TEST(test_report),
	};

	return cmocka_run_group_tests_name("runtime/check", tests, NULL, NULL);
}
