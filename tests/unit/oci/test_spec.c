/* test_spec.c - oci/spec.h: real configurations of the engines, every kind of fault with its text, the
 * small documents of exec and update, hostile input. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/str.h"
#include "oci/oci_samples.h"
#include "oci/spec.h"

static void load_sample(struct spec *s, const char *name)
{
	struct err e = { 0 };

	if (spec_load(SAMPLES_DIR, name, s, &e) < 0)
		fail_msg("%s: %s", name, e.msg);
	assert_non_null(s->text);
	assert_int_equal(strlen(s->text), s->text_len);
}

static void test_runc(void **state)
{
	scoped_spec s = { 0 };

	load_sample(&s, "runc.json");
	assert_string_equal(s.oci_version, "1.0.2-dev");
	assert_true(s.has_process && s.has_root && s.has_linux && !s.has_vm);
	assert_true(s.process.terminal && s.process.no_new_privileges && !s.process.has_oom_score_adj);
	assert_int_equal(s.process.args.n, 1);
	assert_string_equal(s.process.args.p[0], "sh");
	assert_null(s.process.args.p[1]);
	assert_string_equal(s.process.cwd, "/");
	assert_int_equal(s.process.rlimits.n, 1);
	assert_int_equal(s.process.rlimits.p[0].type, RLIMIT_NOFILE);
	assert_int_equal(s.process.rlimits.p[0].hard, 1024);
	assert_true(s.process.capabilities.bounding == ((uint64_t)1 << 29 | 1 << 5 | 1 << 10));
	assert_true(s.process.capabilities.inheritable == 0);
	assert_true(s.root.readonly);
	assert_string_equal(s.root.path, "rootfs");
	assert_string_equal(s.hostname, "runc");
	assert_int_equal(s.mounts.n, 7);
	assert_int_equal(s.lnx.namespaces.n, 5);
	assert_non_null(spec_namespace(&s, CLONE_NEWPID));
	assert_null(spec_namespace(&s, CLONE_NEWUSER));
	assert_int_equal(s.lnx.masked_paths.n, 10);
	assert_int_equal(s.lnx.resources.devices.n, 1);
	assert_false(s.lnx.resources.devices.p[0].allow);
	assert_int_equal(s.lnx.resources.devices.p[0].type, 'a');
	assert_int_equal(s.lnx.resources.devices.p[0].major, -1);
	assert_int_equal(s.lnx.resources.devices.p[0].access, 7);
}

static void test_podman(void **state)
{
	scoped_spec s = { 0 };

	load_sample(&s, "podman.json");
	assert_true(s.process.user.has_umask);
	assert_int_equal(s.process.user.umask, 022);
	assert_true(s.mounts.p[0].bind && s.mounts.p[0].recursive);
	assert_true(s.mounts.p[0].flags_set == MS_RDONLY);
	assert_true(s.lnx.resources.memory.has_limit && !s.lnx.resources.memory.has_reservation);
	assert_int_equal(s.lnx.resources.memory.limit, 67108864);
	assert_int_equal(s.lnx.resources.cpu.quota, 50000);
	assert_true(s.lnx.resources.has_pids);
	assert_int_equal(s.lnx.resources.pids_limit, 2048);
	assert_string_equal(spec_annotation(&s, "io.container.manager"), "libpod");
	assert_null(spec_annotation(&s, "none"));
	assert_true(s.lnx.has_seccomp && s.lnx.seccomp.syscalls.n == 22);
}

/* Zeros for "unset", mode bits with the type, an empty vm object, null. */
static void test_docker(void **state)
{
	scoped_spec s = { 0 };

	load_sample(&s, "docker.json");
	assert_true(s.process.has_console_size && s.process.console_size.width == 80);
	assert_int_equal(s.process.user.additional_gids.n, 2);
	assert_string_equal(s.process.args.p[2], "echo \"\xc3\xbc\xf0\x9f\x98\x80\"");
	assert_true(s.process.has_oom_score_adj && s.process.oom_score_adj == 0);
	assert_string_equal(s.process.apparmor_profile, "docker-default");
	assert_false(s.lnx.resources.cpu.has_shares);
	assert_false(s.lnx.resources.block_io.has_weight);
	assert_false(s.lnx.resources.has_pids);
	assert_true(s.lnx.resources.memory.has_disable_oom_killer);
	assert_int_equal(s.lnx.devices.p[0].file_mode, 0666);
	assert_int_equal(s.lnx.devices.p[0].type, S_IFCHR);
	assert_int_equal(s.lnx.resources.devices.p[3].minor, 229);
	assert_int_equal(s.hooks.lists[HOOK_PRESTART].n, 1);
	assert_string_equal(s.hooks.lists[HOOK_PRESTART].p[0].args.p[0], "libnetwork-setkey");
	assert_false(s.hooks.lists[HOOK_PRESTART].p[0].has_timeout);
	assert_true(s.lnx.seccomp.syscalls.p[1].args.p[0].value == UINT64_MAX);
	assert_null(s.vm.kernel_path);
	assert_null(s.vm.image_format);
	assert_int_equal(s.annotations.n, 0);
}

static void test_others(void **state)
{
	static const char *const names[] = { "crun.json", "containerd.json", "podman_privileged.json",
					     "everything.json" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		scoped_spec s = { 0 };

		load_sample(&s, names[i]);
	}
}

/* A configuration with every member of 1.3. */
static void test_everything(void **state)
{
	scoped_spec s = { 0 };
	const struct spec_linux *l = &s.lnx;

	load_sample(&s, "everything.json");
	assert_string_equal(s.domainname, "example.org");
	assert_int_equal(s.process.scheduler.policy, SCHED_DEADLINE);
	assert_int_equal(s.process.scheduler.flags, 1 | 4);
	assert_int_equal(s.process.scheduler.nice, -5);
	assert_string_equal(s.process.user.name, "u:g");
	assert_int_equal(s.process.io_priority.class, 2);
	assert_int_equal(s.process.io_priority.priority, 4);
	assert_true(s.process.has_exec_cpu_affinity);
	assert_string_equal(s.process.affinity_final, "0-3,7");
	assert_int_equal(s.process.capabilities.unknown.n, 1);
	assert_string_equal(s.process.capabilities.unknown.p[0], "CAP_FUTURE");
	assert_true(s.process.capabilities.ambient == (uint64_t)1 << 40);
	assert_int_equal(s.hooks.lists[HOOK_POSTSTOP].p[0].timeout, 7);
	assert_string_equal(s.hooks.lists[HOOK_START_CONTAINER].p[0].env.p[0], "A=b");
	assert_int_equal(l->namespaces.n, 8);
	assert_string_equal(spec_namespace(&s, CLONE_NEWNET)->path, "/run/netns/x");
	assert_null(spec_namespace(&s, CLONE_NEWPID)->path);
	assert_int_equal(l->uid_mappings.p[0].host_id, 100000);
	assert_string_equal(l->time_offsets.p[0].clock, "monotonic");
	assert_int_equal(l->time_offsets.p[0].secs, -172800);
	assert_int_equal(l->devices.n, 2);
	assert_int_equal(l->devices.p[1].type, S_IFIFO);
	assert_string_equal(l->net_devices.p[0].host_name, "eth0");
	assert_string_equal(l->net_devices.p[0].name, "container_eth0");
	assert_int_equal(l->resources.block_io.read_iops.p[0].rate, 600);
	assert_string_equal(l->resources.hugepage_limits.p[0].page_size, "2MB");
	assert_int_equal(l->resources.network.class_id, 1048577);
	assert_string_equal(l->resources.rdma.p[0].device, "mlx5_1");
	assert_string_equal(l->resources.unified.p[0].key, "memory.high");
	assert_int_equal(l->resources.memory.swap, -1);
	assert_int_equal(l->resources.cpu.idle, 1);
	assert_string_equal(l->intel_rdt.schemata.p[0], "L3:0=f");
	assert_int_equal(l->memory_policy.mode, 3);
	assert_int_equal(l->memory_policy.flags, 1 << 15);
	assert_string_equal(l->sysctl.p[0].key, "net.ipv4.conf.eth0/100.rp_filter");
	assert_string_equal(l->sysctl.p[1].key, "net.ipv4.conf.eth0/100.rp_filter");
	assert_string_equal(l->seccomp.listener_path, "/run/notify.sock");
	assert_true(l->rootfs_propagation == (MS_SLAVE | MS_REC));
	assert_string_equal(l->masked_paths.p[0], "/proc/kcore");
	assert_true(l->has_personality && l->personality == 8);
	assert_string_equal(s.vm.hypervisor_path, "/usr/bin/vmm");
	assert_string_equal(s.vm.kernel_parameters.p[0], "quiet");
	assert_string_equal(s.vm.image_format, "raw");
	assert_int_equal(s.vm.vcpus, 2);
	assert_int_equal(s.vm.memory, 268435456);
	assert_int_equal(s.vm.irqs.p[0], 11);
	assert_int_equal(s.vm.iomems.p[0].nr_mfns, 16);
}

struct fault {
	const char *json, *message; /* the message behind "config.json: " */
};

static void expect_faults(const struct fault *rows, size_t n, const char *before, const char *after)
{
	for (size_t i = 0; i < n; i++) {
		scoped_free char *text = str_fmt("%s%s%s", before, rows[i].json, after);
		scoped_spec s = { 0 };
		struct err e = { 0 };
		int r;

		assert_non_null(text);
		r = spec_parse(text, strlen(text), &s, &e);
		if (r != -EINVAL || !str_starts(e.msg, "config.json: ") ||
		    strncmp(e.msg + 13, rows[i].message, strlen(rows[i].message)) != 0)
			fail_msg("%s: wanted \"%s\", got %d \"%s\"", rows[i].json, rows[i].message, r, e.msg);
		assert_null(s.mem.blocks);
	}
}

static void test_top_faults(void **state)
{
	static const struct fault rows[] = {
		{ "[]", "must be an object, found an array" },
		{ "{}", "ociVersion: is required, but missing" },
		{ "{\"ociVersion\":1}", "ociVersion: must be a string, found a number" },
		{ "{\"ociVersion\":\"2.0.0\"}", "ociVersion: \"2.0.0\" is not supported" },
		{ "{\"ociVersion\":\"1.\"}", "ociVersion: \"1.\" is not supported" },
		{ "{\"ociVersion\":\"1.0x\"}", "ociVersion: \"1.0x\" is not supported" },
		{ "{\"ociVersion\":\"1.0.0\",\"root\":{}}", "root.path: is required, but missing" },
		{ "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"\"}}", "root.path: must not be empty" },
		{ "{\"ociVersion\":\"1.0.0\",\"root\":7}", "root: must be an object, found a number" },
		{ "{\"ociVersion\":\"1.0.0\",\"mounts\":{}}", "mounts: must be an array, found an object" },
		{ "{\"ociVersion\":\"1.0.0\",\"mounts\":[null]}",
		  "mounts[0]: must be an object, found null" },
		{ "{\"ociVersion\":\"1.0.0\",\"mounts\":[{}]}", "mounts[0].destination: is required" },
		{ "{\"ociVersion\":\"1.0.0\",\"annotations\":{\"\":\"x\"}}",
		  "annotations: a name must not be empty" },
		{ "{\"ociVersion\":\"1.0.0\",\"annotations\":{\"a.b\":1}}",
		  "annotations[\"a.b\"]: must be a string, found a number" },
		{ "{\"ociVersion\":\"1.0.0\",\"hooks\":{\"poststop\":[{\"path\":\"x\"}]}}",
		  "hooks.poststop[0].path: must be an absolute path, found \"x\"" },
		{ "{\"ociVersion\":\"1.0.0\",\"hooks\":{\"prestart\":[{\"path\":\"/x\",\"timeout\":0}]}}",
		  "hooks.prestart[0].timeout: must be greater than zero" },
		{ "{\"ociVersion\":\"1.0.0\",\"vm\":{\"kernel\":{\"path\":\"k\"}}}",
		  "vm.kernel.path: must be an absolute path" },
		{ "{\"ociVersion\":\"1.0.0\",\"vm\":{\"hwConfig\":{},\"hwconfig\":{}}}",
		  "vm.hwconfig: stands beside" },
		{ "{\"ociVersion\":\"1.0.0\",\"vm\":{\"hwConfig\":{\"vcpus\":-1}}}",
		  "vm.hwConfig.vcpus: must be a non-neg" },
		{ "{\"ociVersion\":\"1.0.0\",\"ociVersion\":\"1.0.0\"}",
		  "ociVersion: the name appears twice" },
		{ "{\"ociVersion\":\"1.0.0\"", "not valid JSON: line 1, column 22" },
	};

	expect_faults(rows, ARRAY_LEN(rows), "", "");
}

static void test_process_faults(void **state)
{
	static const struct fault rows[] = {
		{ "", "process.cwd: is required, but missing" },
		{ "\"cwd\":\"tmp\"", "process.cwd: must be an absolute path, found \"tmp\"" },
		{ "\"cwd\":\"/\",\"args\":\"sh\"", "process.args: must be an array, found a string" },
		{ "\"cwd\":\"/\",\"args\":[\"a\",7]", "process.args[1]: must be a string, found a number" },
		{ "\"cwd\":\"/\",\"terminal\":1", "process.terminal: must be true or false, found a number" },
		{ "\"cwd\":\"/\",\"env\":[null]", "process.env[0]: must be a string, found null" },
		{ "\"cwd\":\"/\",\"user\":{\"uid\":-1}", "process.user.uid: must be a non-negative integer" },
		{ "\"cwd\":\"/\",\"user\":{\"uid\":4294967295}",
		  "process.user.uid: must be 0 to 4294967294" },
		{ "\"cwd\":\"/\",\"user\":{\"umask\":65535}", "process.user.umask: must be 0 to 4095" },
		{ "\"cwd\":\"/\",\"user\":{\"additionalGids\":[1,1.5]}",
		  "process.user.additionalGids[1]: must be a non-neg" },
		{ "\"cwd\":\"/\",\"rlimits\":[{\"type\":\"RLIMIT_X\",\"soft\":0,\"hard\":0}]",
		  "process.rlimits[0].type: \"RLIMIT_X\" is not a resource limit; known: RLIMIT_AS, " },
		{ "\"cwd\":\"/\",\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"soft\":\"x\",\"hard\":0}]",
		  "process.rlimits[0].soft: must be a non-negative integer, found a string" },
		{ "\"cwd\":\"/\",\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"soft\":2,\"hard\":1}]",
		  "process.rlimits[0].soft: must not be above hard" },
		{ "\"cwd\":\"/"
		  "\",\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"soft\":0,\"hard\":0},{\"type\":\"RLIMIT_CPU\","
		  "\"soft\":0,\"hard\":0}]",
		  "process.rlimits: RLIMIT_CPU is given twice" },
		{ "\"cwd\":\"/\",\"capabilities\":[]",
		  "process.capabilities: must be an object, found an array" },
		{ "\"cwd\":\"/\",\"capabilities\":{\"ambient\":{}}",
		  "process.capabilities.ambient: must be an array" },
		{ "\"cwd\":\"/\",\"oomScoreAdj\":-1001",
		  "process.oomScoreAdj: must be -1000 to 1000, found -1001" },
		{ "\"cwd\":\"/\",\"scheduler\":{\"policy\":\"FIFO\"}",
		  "process.scheduler.policy: \"FIFO\" is not a sched" },
		{ "\"cwd\":\"/\",\"scheduler\":{}", "process.scheduler.policy: is required" },
		{ "\"cwd\":\"/\",\"scheduler\":{\"policy\":\"SCHED_RR\",\"flags\":[\"X\"]}",
		  "process.scheduler.flags[0]: \"X\" is not a scheduling flag" },
		{ "\"cwd\":\"/\",\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\",\"priority\":8}",
		  "process.ioPriority.priority: must be 0 to 7" },
		{ "\"cwd\":\"/\",\"consoleSize\":{\"height\":1}", "process.consoleSize.width: is required" },
		{ "\"cwd\":\"/\",\"consoleSize\":{\"height\":65536,\"width\":1}",
		  "process.consoleSize.height: must be 0 to 65535" },
		{ "\"cwd\":\"/\",\"execCPUAffinity\":{\"initial\":\"a\"}",
		  "process.execCPUAffinity.initial: must be a list" },
	};

	expect_faults(rows, ARRAY_LEN(rows), "{\"ociVersion\":\"1.0.0\",\"process\":{", "}}");
}

static void test_linux_faults(void **state)
{
	static const struct fault rows[] = {
		{ "\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"bogus\"}]",
		  "linux.namespaces[1].type: \"bogus\" is not a namespace type; known: cgroup, ipc, " },
		{ "\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]",
		  "linux.namespaces: \"pid\" is given twice" },
		{ "\"namespaces\":[{\"type\":\"network\",\"path\":\"x\"}]",
		  "linux.namespaces[0].path: must be an absolute" },
		{ "\"namespaces\":[{\"type\":\"\\u001b[2J\"}]",
		  "linux.namespaces[0].type: \"\\x1b[2J\" is not" },
		{ "\"uidMappings\":[{\"containerID\":0,\"hostID\":1}]",
		  "linux.uidMappings[0].size: is required" },
		{ "\"uidMappings\":[{\"containerID\":0,\"hostID\":1,\"size\":0}]",
		  "linux.uidMappings[0].size: must be at least 1" },
		{ "\"gidMappings\":[{\"containerID\":0,\"hostID\":4294967295,\"size\":2}]",
		  "linux.gidMappings[0].size: reaches" },
		{ "\"timeOffsets\":{\"realtime\":{}}", "linux.timeOffsets.realtime: is no clock" },
		{ "\"timeOffsets\":{\"boottime\":{\"nanosecs\":1000000000}}",
		  "linux.timeOffsets.boottime.nanosecs: must be 0 to" },
		{ "\"devices\":[{\"type\":\"c\",\"path\":\"dev/x\"}]",
		  "linux.devices[0].path: must be an absolute path" },
		{ "\"devices\":[{\"type\":\"c\",\"path\":\"/..\"}]",
		  "linux.devices[0].path: must name a file" },
		{ "\"devices\":[{\"type\":\"x\",\"path\":\"/dev/x\"}]",
		  "linux.devices[0].type: \"x\" is not a device type" },
		{ "\"devices\":[{\"type\":\"b\",\"path\":\"/dev/x\",\"major\":1}]",
		  "linux.devices[0].minor: is required" },
		{ "\"devices\":[{\"type\":\"b\",\"path\":\"/dev/x\",\"major\":-1,\"minor\":0}]",
		  "linux.devices[0].major: must be 0" },
		{ "\"maskedPaths\":[\"proc\"]", "linux.maskedPaths: [0] must be an absolute path" },
		{ "\"sysctl\":{\"hostname\":\"x\"}",
		  "linux.sysctl: \"hostname\" is not the name of a sysctl" },
		{ "\"sysctl\":{\"net..x\":\"x\"}", "linux.sysctl: \"net..x\" is not the name" },
		{ "\"sysctl\":{\"net/../../etc\":\"x\"}", "linux.sysctl: " },
		{ "\"sysctl\":{\"net.x\":1}", "linux.sysctl[\"net.x\"]: must be a string" },
		{ "\"rootfsPropagation\":\"rro\"",
		  "linux.rootfsPropagation: \"rro\" is not a mount propagation" },
		{ "\"personality\":{\"domain\":\"LINUX64\"}",
		  "linux.personality.domain: \"LINUX64\" is not" },
		{ "\"personality\":{\"domain\":\"LINUX\",\"flags\":[\"X\"]}",
		  "linux.personality.flags: no flags are defined" },
		{ "\"seccomp\":{}", "linux.seccomp.defaultAction: is required" },
		{ "\"seccomp\":{\"defaultAction\":\"A\",\"syscalls\":[{\"names\":[],\"action\":\"B\"}]}",
		  "linux.seccomp.syscalls[0].names: must hold at least one" },
		{ "\"seccomp\":{\"defaultAction\":\"A\",\"syscalls\":[{\"names\":[\"a\"],\"action\":\"B\","
		  "\"args\":[{\"index\":6,"
		  "\"value\":0,\"op\":\"X\"}]}]}",
		  "linux.seccomp.syscalls[0].args[0].index: must be 0 to 5" },
		{ "\"memoryPolicy\":{\"mode\":\"MPOL_X\"}",
		  "linux.memoryPolicy.mode: \"MPOL_X\" is not a memory policy" },
		{ "\"resources\":{\"memory\":{\"limit\":-2}}",
		  "linux.resources.memory.limit: must be -1 to" },
		{ "\"resources\":{\"memory\":{\"swappiness\":101}}",
		  "linux.resources.memory.swappiness: must be 0 to 100" },
		{ "\"resources\":{\"cpu\":{\"shares\":1.5}}",
		  "linux.resources.cpu.shares: must be a non-negative integer" },
		{ "\"resources\":{\"cpu\":{\"idle\":2}}", "linux.resources.cpu.idle: must be 0 to 1" },
		{ "\"resources\":{\"pids\":{\"limit\":\"max\"}}",
		  "linux.resources.pids.limit: must be an integer, found a" },
		{ "\"resources\":{\"devices\":[{\"access\":\"rwm\"}]}",
		  "linux.resources.devices[0].allow: is required" },
		{ "\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"rx\"}]}",
		  "linux.resources.devices[0].access: must be made" },
		{ "\"resources\":{\"devices\":[{\"allow\":true,\"type\":\"p\"}]}",
		  "linux.resources.devices[0].type: \"p\" is not" },
		{ "\"resources\":{\"hugepageLimits\":[{\"pageSize\":\"2mb\",\"limit\":1}]}",
		  "linux.resources.hugepageLimits[0].pageSize: must be a size" },
		{ "\"resources\":{\"blockIO\":{\"weight\":9}}",
		  "linux.resources.blockIO.weight: must be 10 to 1000" },
		{ "\"resources\":{\"blockIO\":{\"throttleReadBpsDevice\":[{\"major\":8}]}}",
		  "linux.resources.blockIO.throttleReadBpsDevice[0].minor: is required" },
		{ "\"resources\":{\"unified\":{\"../x.y\":\"1\"}}",
		  "linux.resources.unified[\"../x.y\"]: must be the name of a cgroup" },
		{ "\"resources\":{\"unified\":{\"x/y.z\":\"1\"}}",
		  "linux.resources.unified[\"x/y.z\"]: must be" },
		{ "\"resources\":{\"rdma\":{\"a\":{\"hcaHandles\":-1}}}",
		  "linux.resources.rdma.a.hcaHandles: must be a non-neg" },
	};

	expect_faults(rows, ARRAY_LEN(rows), "{\"ociVersion\":\"1.0.0\",\"linux\":{", "}}");
}

static void test_tolerated(void **state)
{
	static const char *const texts[] = {
		"{\"ociVersion\":\"1.0.0\"}",
		"{\"ociVersion\":\"1.99.0-rc.1+x\",\"unknown\":{\"a\":[1,2.5,null]}}",
		"{\"ociVersion\":\"1.2\",\"process\":null,\"root\":null,\"mounts\":null,\"linux\":null,"
		"\"hooks\":null,"
		"\"vm\":null,\"windows\":{\"x\":1}}",
		"{\"ociVersion\":\"1.0.0\",\"linux\":{\"resources\":{\"pids\":{},\"memory\":{},\"cpu\":{"
		"\"cpus\":\"\"}},"
		"\"cgroupsPath\":\"\",\"rootfsPropagation\":\"\",\"mountLabel\":\"\"}}",
		"{\"ociVersion\":\"1.0.0\",\"vm\":{\"hwconfig\":{\"vcpus\":0,\"memory\":0}}}",
	};

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		scoped_spec s = { 0 };
		struct err e = { 0 };

		if (spec_parse(texts[i], strlen(texts[i]), &s, &e) < 0)
			fail_msg("%s: %s", texts[i], e.msg);
		assert_false(s.lnx.resources.has_pids || s.vm.has_vcpus || s.lnx.cgroups_path ||
			     s.lnx.rootfs_propagation);
	}
}

static void test_small_documents(void **state)
{
	static const char process[] = "{\"cwd\":\"/\",\"args\":[\"id\"],\"user\":{\"uid\":7,\"gid\":8}}";
	static const char resources[] =
		"{\"memory\":{\"limit\":0,\"swap\":-1},\"cpu\":{\"quota\":-1},\"pids\":{\"limit\":0}}";
	scoped_spec p = { 0 }, r = { 0 }, bad = { 0 };
	struct err e = { 0 };

	assert_int_equal(spec_parse_process(process, strlen(process), &p, &e), 0);
	assert_true(p.has_process && !p.has_root);
	assert_int_equal(p.process.user.gid, 8);
	assert_int_equal(spec_parse_resources(resources, strlen(resources), &r, &e), 0);
	assert_true(r.has_linux && r.lnx.has_resources);
	assert_false(r.lnx.resources.memory.has_limit);
	assert_true(r.lnx.resources.memory.has_swap && r.lnx.resources.memory.swap == -1);
	assert_true(r.lnx.resources.has_pids && r.lnx.resources.pids_limit == 0);
	assert_int_equal(spec_parse_process("{\"cwd\":1}", 9, &bad, &e), -EINVAL);
	assert_string_equal(e.msg, "process: cwd: must be a string, found a number");
	assert_int_equal(spec_parse_resources("{\"cpu\":1}", 9, &bad, &e), -EINVAL);
	assert_string_equal(e.msg, "resources: cpu: must be an object, found a number");
}

static void test_too_large(void **state)
{
	size_t n = 10u << 20;
	scoped_free char *text = malloc(n);
	scoped_spec s = { 0 };
	struct err e = { 0 };

	assert_non_null(text);
	memset(text, ' ', n);
	assert_int_equal(spec_parse(text, n, &s, &e), -EFBIG);
	assert_string_equal(e.msg,
			    "config.json: 10485760 bytes are too many; at most 1048576 (1 MiB) are read");
}

static void test_load(void **state)
{
	char dir[] = "/tmp/cor-test-spec-XXXXXX";
	scoped_free char *path = NULL;
	scoped_fd fd = -1;
	scoped_spec s = { 0 };
	struct err e = { 0 };
	scoped_free char *big = calloc(1, 10u << 20);

	assert_non_null(big);
	assert_non_null(mkdtemp(dir));
	path = str_fmt("%s/config.json", dir);
	assert_non_null(path);
	assert_int_equal(spec_load(dir, NULL, &s, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "is this a bundle?"));
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(io_write_full(fd, "{\"ociVersion\":\"1.0.0\"}", 22), 0);
	assert_int_equal(spec_load(dir, NULL, &s, &e), 0);
	assert_string_equal(s.text, "{\"ociVersion\":\"1.0.0\"}");
	spec_fini(&s);
	assert_int_equal(io_write_full(fd, big, 10u << 20), 0);
	assert_int_equal(spec_load(dir, NULL, &s, &e), -EFBIG);
	assert_non_null(strstr(e.msg, "config.json: too large; at most 1 MiB"));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* Every cut of a real configuration is refused, and leaves nothing behind. */
static void test_truncated(void **state)
{
	scoped_free char *text = NULL;
	size_t n = 0;

	assert_int_equal(io_read_file_at(AT_FDCWD, SAMPLES_DIR "/docker.json", SPEC_TEXT_MAX, &text, &n), 0);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	for (size_t cut = 0; cut < n; cut += 7) {
		scoped_spec s = { 0 };
		struct err e = { 0 };

		assert_int_equal(spec_parse(text, cut, &s, &e), -EINVAL);
		assert_null(s.mem.blocks);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_runc),           cmocka_unit_test(test_podman),
		cmocka_unit_test(test_docker),         cmocka_unit_test(test_others),
		cmocka_unit_test(test_everything),     cmocka_unit_test(test_top_faults),
		cmocka_unit_test(test_process_faults), cmocka_unit_test(test_linux_faults),
		cmocka_unit_test(test_tolerated),      cmocka_unit_test(test_small_documents),
		cmocka_unit_test(test_too_large),      cmocka_unit_test(test_load),
		cmocka_unit_test(test_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
