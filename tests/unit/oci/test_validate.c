/* test_validate.c - oci/validate.h: what is refused, with the field's name and a remedy; what only
 * warns; what engines send passes. */
#include "unit.h"

#include <errno.h>
#include <string.h>

#include "oci/oci_samples.h"
#include "oci/validate.h"

static const struct validate_host plain = { .selinux = false }, with_selinux = { .selinux = true };

/* A configuration that passes, around `linux` members, `process` members and top-level members. */
#define NAMESPACES                                                                                           \
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"mount\"}]"

static void parse(struct spec *s, const char *top, const char *process, const char *lnx)
{
	scoped_free char *text =
		str_fmt("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/"
			"\",\"args\":[\"sh\"]%s%s},"
			"\"linux\":{%s%s%s}%s%s}",
			*process ? "," : "", process, strstr(lnx, "namespaces") ? "" : NAMESPACES,
			*lnx && !strstr(lnx, "namespaces") ? "," : "", lnx, *top ? "," : "", top);
	struct err e = { 0 };

	assert_non_null(text);
	if (spec_parse(text, strlen(text), s, &e) < 0)
		fail_msg("%s: %s", text, e.msg);
}

static void test_samples_pass(void **state)
{
	static const struct {
		const char *name;
		size_t warnings;
	} rows[] = {
		{ "runc.json", 0 },       { "crun.json", 0 },   { "podman.json", 0 },
		{ "containerd.json", 0 }, { "docker.json", 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_strv warnings = { 0 };
		scoped_spec s = { 0 };
		struct err e = { 0 };

		assert_int_equal(spec_load(SAMPLES_DIR, rows[i].name, &s, &e), 0);
		if (spec_validate(&s, &plain, &warnings, &e) < 0)
			fail_msg("%s: %s", rows[i].name, e.msg);
		assert_int_equal(warnings.n, rows[i].warnings);
		assert_int_equal(spec_validate(&s, &plain, NULL, &e), 0);
		assert_int_equal(spec_validate_start(&s, &e), 0);
	}
}

#define MAPPING(from, to, n) "{\"containerID\":" from ",\"hostID\":" to ",\"size\":" n "}"
#define IDMAPPED(uids, gids)                                                                                 \
	"\"mounts\":[{\"destination\":\"/a\",\"source\":\"/"                                                 \
	"b\",\"options\":[\"bind\"],\"uidMappings\":[" uids "],\"gidMappings\":[" gids "]}]"
#define NAMESPACES_USER                                                                                      \
	"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"network\"},{\"type\":\"ipc\"},{\"type\":\"mount\"}," \
	"{"                                                                                                  \
	"\"type\":\"user\"}]"

struct refusal {
	const char *top, *process, *lnx;
	int code;
	const char *message;
};

/* As many mappings as `n`, of ids that have as many digits as those from `base`. */
static void check_many(unsigned n, unsigned base, int code, const char *message)
{
	scoped_str list = { 0 };
	scoped_free char *top = NULL;
	scoped_spec s = { 0 };
	struct err e = { 0 };

	for (unsigned i = 0; i < n; i++)
		str_addf(&list, "%s{\"containerID\":%u,\"hostID\":%u,\"size\":1}", i ? "," : "", base + i,
			 base + i);
	top = str_fmt("\"mounts\":[{\"destination\":\"/a\",\"source\":\"/b\",\"options\":[\"bind\"],"
		      "\"uidMappings\":[" MAPPING("0", "1", "1") "],\"gidMappings\":[%s]}]",
		      list.p);
	assert_non_null(top);
	parse(&s, top, "", "");
	assert_int_equal(spec_validate(&s, &plain, NULL, &e), code);
	if (message)
		assert_non_null(strstr(e.msg, message));
}

/* What one write to the kernel's gid_map takes. */
static void test_many_mappings(void **state)
{
	check_many(340, 1, 0, NULL);
	check_many(341, 1, -EINVAL,
		   "mounts[0].gidMappings: has 341 mappings, and the kernel takes at most 340");
	check_many(170, 1000000000, 0, NULL); /* 24 bytes each */
	check_many(171, 1000000000, -EINVAL, "mounts[0].gidMappings: is 4104 bytes");
}

static void test_refusals(void **state)
{
	static const struct refusal rows[] = {
		{ "", "", "\"namespaces\":[]", -ENOTSUP,
		  "linux.namespaces: there is no \"network\" entry: a container in a VM" },
		{ "", "", "\"namespaces\":[{\"type\":\"network\"}]", -ENOTSUP,
		  "linux.namespaces: there is no \"pid\" entry" },
		{ "", "", "\"namespaces\":[{\"type\":\"network\"},{\"type\":\"pid\"}]", -ENOTSUP,
		  "linux.namespaces: there is no \"ipc\" entry" },
		{ "", "", "\"namespaces\":[{\"type\":\"network\"},{\"type\":\"pid\"},{\"type\":\"ipc\"}]",
		  -ENOTSUP, "linux.namespaces: there is no \"mount\" entry" },
		{ "", "",
		  "\"namespaces\":[{\"type\":\"network\"},{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":"
		  "\"ipc\","
		  "\"path\":\"/proc/7/ns/ipc\"}]",
		  -ENOTSUP, "linux.namespaces: \"ipc\" has the path /proc/7/ns/ipc: sharing" },
		{ "", "", "\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}]", -EINVAL,
		  "linux.uidMappings: mappings need a \"user\" entry" },
		{ "", "",
		  "\"namespaces\":[{\"type\":\"network\"},{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":"
		  "\"mount\"},"
		  "{\"type\":\"user\"}]",
		  -EINVAL, "linux.uidMappings: a user namespace needs" },
		{ "", "", "\"timeOffsets\":{\"boottime\":{}}", -EINVAL, "linux.timeOffsets: offsets need" },
		{ "", "", "\"intelRdt\":{}", -ENOTSUP, "linux.intelRdt: is not supported" },
		{ "", "", "\"netDevices\":{\"eth0\":{}}", -ENOTSUP, "linux.netDevices: " },
		{ "", "", "\"memoryPolicy\":{\"mode\":\"MPOL_BIND\",\"nodes\":\"0\"}", -ENOTSUP,
		  "linux.memoryPolicy: " },
		{ "", "", "\"mountLabel\":\"x\"", -ENOTSUP, "linux.mountLabel: SELinux is not enabled" },
		{ "", "", "\"cgroupsPath\":\"a/../b\"", -EINVAL, "linux.cgroupsPath: must not hold \"..\"" },
		{ "", "", "\"devices\":[{\"path\":\"/dev/sda\",\"type\":\"b\",\"major\":8,\"minor\":0}]",
		  -ENOTSUP, "linux.devices: /dev/sda (block 8:0) is a device of the host" },
		{ "", "", "\"devices\":[{\"path\":\"/dev/kvm\",\"type\":\"c\",\"major\":10,\"minor\":232}]",
		  -ENOTSUP, "linux.devices: /dev/kvm (char 10:232)" },
		{ "", "", "\"devices\":[{\"path\":\"/dev/null\",\"type\":\"b\",\"major\":1,\"minor\":3}]",
		  -ENOTSUP, "linux.devices: /dev/null (block 1:3)" },
		{ "", "", "\"resources\":{\"blockIO\":{\"leafWeight\":500}}", -ENOTSUP,
		  "linux.resources.blockIO: leafWeight" },
		{ "", "", "\"resources\":{\"rdma\":{\"a\":{}}}", -ENOTSUP, "linux.resources.rdma: " },
		{ "", "", "\"resources\":{\"network\":{\"classID\":7}}", -ENOTSUP,
		  "linux.resources.network.classID: " },
		{ "", "", "\"resources\":{\"network\":{\"priorities\":[{\"name\":\"a\",\"priority\":1}]}}",
		  -ENOTSUP, "linux.resources.network.priorities: " },
		{ "", "", "\"resources\":{\"cpu\":{\"realtimeRuntime\":1}}", -ENOTSUP,
		  "linux.resources.cpu.realtimeRuntime: " },
		{ "", "", "\"resources\":{\"cpu\":{\"cpus\":\"0-x\"}}", -EINVAL,
		  "linux.resources.cpu.cpus: must be a list" },
		{ "", "", "\"resources\":{\"memory\":{\"swap\":5}}", -EINVAL,
		  "linux.resources.memory.swap: needs" },
		{ "", "", "\"resources\":{\"memory\":{\"limit\":6,\"swap\":5}}", -EINVAL,
		  "linux.resources.memory.swap: is memory" },
		{ "", "", "\"resources\":{\"memory\":{\"disableOOMKiller\":true}}", -ENOTSUP,
		  "linux.resources.memory.disableOOMKiller: " },
		{ "\"mounts\":[{\"destination\":\"/a\",\"type\":\"proc\"},{\"destination\":\"/"
		  "a\",\"type\":\"bind\"}]",
		  "", "", -EINVAL, "mounts[1].source: a bind mount needs one" },
		{ "\"mounts\":[{\"destination\":\"/a\"}]", "", "", -EINVAL, "mounts[0].type: is required" },
		{ "\"mounts\":[{\"destination\":\"/a\",\"type\":\"ext4\",\"source\":\"/dev/sda\"}]", "", "",
		  -ENOTSUP, "mounts[0].type: \"ext4\" needs a device" },
		{ "\"mounts\":[{\"destination\":\"/a\",\"source\":\"/b\",\"options\":[\"bind\",\"idmap\"]}]",
		  "", "", -EINVAL, "mounts[0].options: idmap without mappings takes those" },
		{ "\"mounts\":[{\"destination\":\"/a\",\"type\":\"tmpfs\",\"options\":[\"ridmap\"]}]", "", "",
		  -ENOTSUP, "mounts[0].options: only bind mounts can be ID-mapped" },
		{ IDMAPPED("", MAPPING("0", "1", "1")), "", "", -EINVAL,
		  "mounts[0].uidMappings: needs at least one mapping" },
		{ IDMAPPED(MAPPING("0", "1", "1"), ""), "", "", -EINVAL,
		  "mounts[0].gidMappings: needs at least one mapping" },
		{ IDMAPPED(MAPPING("0", "1", "10") "," MAPPING("9", "100", "1"), MAPPING("0", "1", "1")), "",
		  "", -EINVAL, "mounts[0].uidMappings: mappings 0 and 1 overlap" },
		{ IDMAPPED(MAPPING("0", "1", "1"), MAPPING("9", "109", "1") "," MAPPING("0", "100", "10")),
		  "", "", -EINVAL, "mounts[0].gidMappings: mappings 0 and 1 overlap" },
		{ "", "",
		  NAMESPACES_USER ",\"gidMappings\":[" MAPPING("0", "1", "1") "],\"uidMappings\":[" MAPPING(
			  "0", "0", "4294967294") "," MAPPING("4294967293", "1", "1") "]",
		  -EINVAL, "linux.uidMappings: mappings 0 and 1 overlap" },
		{ "\"mounts\":[{\"destination\":\"/a\",\"source\":\"/"
		  "b\",\"options\":[\"bind\"],\"uidMappings\":[]}]",
		  "", "", -EINVAL, "mounts[0].gidMappings: is required" },
		{ "\"hostname\":\"a b\"", "", "", -EINVAL, "hostname: must not hold blanks" },
		{ "\"domainname\":\"a/b\"", "", "", -EINVAL, "domainname: must not hold blanks" },
		{ "\"vm\":{\"image\":{\"path\":\"/i\"}}", "", "", -ENOTSUP, "vm.image: " },
		{ "\"vm\":{\"hwConfig\":{\"irqs\":[1]}}", "", "", -ENOTSUP, "vm.hwConfig: " },
		{ "\"vm\":{\"kernel\":{\"initrd\":\"/i\"}}", "", "", -EINVAL, "vm.kernel.path: is required" },
		{ "", "\"selinuxLabel\":\"x\"", "", -ENOTSUP,
		  "process.selinuxLabel: SELinux is not enabled" },
		{ "", "\"scheduler\":{\"policy\":\"SCHED_ISO\"}", "", -ENOTSUP,
		  "process.scheduler.policy: SCHED_ISO" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_spec s = { 0 };
		struct err e = { 0 };
		int r;

		parse(&s, rows[i].top, rows[i].process, rows[i].lnx);
		r = spec_validate(&s, &plain, NULL, &e);
		if (r != rows[i].code || e.code != r || !str_starts(e.msg, "config.json: ") ||
		    !str_starts(e.msg + 13, rows[i].message))
			fail_msg("row %zu: wanted %d \"%s\", got %d \"%s\"", i, rows[i].code, rows[i].message,
				 r, e.msg);
	}
}

static void test_missing_sections(void **state)
{
	static const char no_root[] = "{\"ociVersion\":\"1.0.0\",\"linux\":{}}";
	static const char no_linux[] = "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"}}";
	static const char no_process[] =
		"{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"linux\":{" NAMESPACES "}}";
	static const char no_args[] = "{\"cwd\":\"/\"}";
	static const char empty_arg[] = "{\"cwd\":\"/\",\"args\":[\"\"]}";
	scoped_spec s = { 0 };
	struct err e = { 0 };

	assert_int_equal(spec_parse(no_root, strlen(no_root), &s, &e), 0);
	assert_int_equal(spec_validate(&s, &plain, NULL, &e), -EINVAL);
	assert_string_equal(e.msg, "config.json: root: is required, but missing");
	spec_fini(&s);
	assert_int_equal(spec_parse(no_linux, strlen(no_linux), &s, &e), 0);
	assert_int_equal(spec_validate(&s, &plain, NULL, &e), -EINVAL);
	assert_string_equal(e.msg, "config.json: linux: is required, but missing");
	spec_fini(&s);
	assert_int_equal(spec_parse(no_process, strlen(no_process), &s, &e), 0);
	assert_int_equal(spec_validate(&s, &plain, NULL, &e), 0);
	assert_int_equal(spec_validate_start(&s, &e), -EINVAL);
	assert_string_equal(e.msg, "config.json: process: is required to start the container, but missing");
	spec_fini(&s);
	assert_int_equal(spec_parse_process(no_args, strlen(no_args), &s, &e), 0);
	assert_int_equal(spec_validate_process(&s.process, &plain, NULL, &e), -EINVAL);
	assert_string_equal(e.msg, "process: args: must name the program to run, but is empty");
	spec_fini(&s);
	assert_int_equal(spec_parse_process(empty_arg, strlen(empty_arg), &s, &e), 0);
	assert_int_equal(spec_validate_process(&s.process, &plain, NULL, &e), -EINVAL);
}

static void test_warnings(void **state)
{
	static const struct {
		const char *top, *process, *lnx, *text;
	} rows[] = {
		{ "", "\"capabilities\":{\"bounding\":[\"CAP_X\",\"CAP_X\"]}", "",
		  "config.json: process.capabilities: \"CAP_X\" is not known" },
		{ "", "\"apparmorProfile\":\"docker-default\"", "",
		  "config.json: process.apparmorProfile: \"docker-default\" is not" },
		{ "", "", "\"resources\":{\"memory\":{\"swappiness\":0}}",
		  "config.json: linux.resources.memory.swappiness: " },
		{ "", "", "\"resources\":{\"memory\":{\"kernel\":5}}",
		  "config.json: linux.resources.memory.kernel: " },
		{ "", "", "\"resources\":{\"memory\":{\"useHierarchy\":false}}",
		  "config.json: linux.resources.memory.useHier" },
		{ "", "", "\"rootfsPropagation\":\"rshared\"", "config.json: linux.rootfsPropagation: " },
		{ "\"mounts\":[{\"destination\":\"/a\",\"source\":\"/b\",\"options\":[\"bind\",\"shared\"]}]",
		  "", "", "config.json: mounts[0].options: " },
		{ "", "", "\"mountLabel\":\"x\"", "config.json: linux.mountLabel: " },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_strv warnings = { 0 };
		scoped_spec s = { 0 };
		struct err e = { 0 };

		parse(&s, rows[i].top, rows[i].process, rows[i].lnx);
		if (spec_validate(&s, &with_selinux, &warnings, &e) < 0)
			fail_msg("row %zu: %s", i, e.msg);
		assert_int_equal(warnings.n, 1);
		if (!str_starts(warnings.p[0], rows[i].text))
			fail_msg("row %zu: %s", i, warnings.p[0]);
	}
}

/* Never sent by an engine as "unset", but must not be in the way. */
static void test_harmless(void **state)
{
	static const char *const lnx[] = {
		"\"memoryPolicy\":{\"mode\":\"MPOL_DEFAULT\"}",
		"\"netDevices\":{}",
		"\"resources\":{\"network\":{\"classID\":0},\"rdma\":{},\"blockIO\":{\"weight\":10},\"cpu\":{"
		"\"realtimePeriod\":0}}",
		"\"resources\":{\"memory\":{\"limit\":-1,\"swap\":-1}}",
		"\"devices\":[{\"path\":\"/dev/"
		"fuse\",\"type\":\"c\",\"major\":10,\"minor\":229},{\"path\":\"/x\",\"type\":\"p\"}]",
		"\"namespaces\":[{\"type\":\"network\",\"path\":\"/run/netns/"
		"x\"},{\"type\":\"pid\"},{\"type\":\"ipc\"},"
		"{\"type\":\"mount\"},{\"type\":\"user\"},{\"type\":\"time\"},{\"type\":\"cgroup\"},{"
		"\"type\":\"uts\"}],"
		"\"uidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}],"
		"\"gidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}],\"timeOffsets\":{\"boottime\":"
		"{\"secs\":1}}",
	};

	for (size_t i = 0; i < ARRAY_LEN(lnx); i++) {
		scoped_spec s = { 0 };
		struct err e = { 0 };

		parse(&s, "\"vm\":{\"hwConfig\":{\"vcpus\":2}}", "\"selinuxLabel\":\"\"", lnx[i]);
		if (spec_validate(&s, &plain, NULL, &e) < 0)
			fail_msg("%s: %s", lnx[i], e.msg);
	}
}

static void test_resources(void **state)
{
	static const char text[] = "{\"blockIO\":{\"leafWeight\":100}}";
	scoped_spec s = { 0 };
	struct err e = { 0 };

	assert_int_equal(spec_parse_resources(text, strlen(text), &s, &e), 0);
	assert_int_equal(spec_validate_resources(&s.lnx.resources, NULL, &e), -ENOTSUP);
	assert_true(str_starts(e.msg, "resources: blockIO: "));
}

static void test_privileged(void **state)
{
	scoped_spec s = { 0 };
	struct err e = { 0 };

	assert_int_equal(spec_load(SAMPLES_DIR, "podman_privileged.json", &s, &e), 0);
	assert_int_equal(spec_validate(&s, &plain, NULL, &e), -ENOTSUP);
	assert_non_null(strstr(e.msg, "no --privileged"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples_pass), cmocka_unit_test(test_many_mappings),
		cmocka_unit_test(test_refusals),     cmocka_unit_test(test_missing_sections),
		cmocka_unit_test(test_warnings),     cmocka_unit_test(test_harmless),
		cmocka_unit_test(test_resources),    cmocka_unit_test(test_privileged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
