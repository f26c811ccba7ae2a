/* test_plan.c - runtime/plan.h: what becomes of each part of a config.json in the plan for monitor and agent.
 */
#include "unit.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>

#include "runtime/plan.h"
#include "tmpdir.h"

#define HEAD "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},"
#define PROC "\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\",\"user\":{\"uid\":0,\"gid\":0}}"

struct fixture {
	struct tmpdir *t;
	struct settings settings;
	struct spec spec;
	struct arena mem;
	struct mon_plan plan;
	struct strv warnings;
	struct plan_in in;
};

static bool kvm_works;

int __wrap_kvm_probe(const char *dev, int timeout_ms, struct err *e);
int __wrap_kvm_probe(const char *dev, int timeout_ms, struct err *e)
{
	(void)dev;
	(void)timeout_ms;
	return kvm_works ? 0 : err_set(e, -ENODEV, "no KVM in this test");
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct err e;
	void *t = NULL;

	if (!f || tmpdir_set_up(&t) < 0)
		return -1;
	f->t = t;
	*state = f;
	if (settings_init(&f->settings, f->t->path, &e) < 0 ||
	    settings_set_arg(&f->settings, "qemu.path=/bin/true", &e) < 0 ||
	    settings_set_arg(&f->settings, "qemu.accel=tcg", &e) < 0 ||
	    tmpdir_write(f->t, "vmlinux", "k") < 0 || tmpdir_write(f->t, "initrd", "i") < 0 ||
	    tmpdir_write(f->t, "file", "x") < 0 || mkdirat(f->t->fd, "rootfs", 0755) < 0 ||
	    mkdirat(f->t->fd, "dir", 0755) < 0 || symlinkat("dir", f->t->fd, "link") < 0)
		return -1;
	f->in = (struct plan_in){ .spec = &f->spec,
				  .settings = &f->settings,
				  .id = "c1",
				  .bundle = f->t->path,
				  .state_dir = "/run/cor/c1",
				  .libexecdir = "/nonexistent" };
	return 0;
}

static void forget(struct fixture *f)
{
	spec_fini(&f->spec);
	arena_fini(&f->mem);
	strv_fini(&f->warnings);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	void *t = f->t;

	forget(f);
	settings_fini(&f->settings);
	free(f);
	return tmpdir_tear_down(&t);
}

static int make(struct fixture *f, const char *json, struct err *e)
{
	forget(f);
	if (spec_parse(json, strlen(json), &f->spec, e) < 0)
		fail_msg("%s: %s", json, e->msg);
	return plan_make(&f->in, &f->mem, &f->plan, &f->warnings, e);
}

static const struct mon_plan *plan(struct fixture *f, const char *json)
{
	struct err e = { 0 };

	if (make(f, json, &e) < 0)
		fail_msg("%s: %s", json, e.msg);
	return &f->plan;
}

static void test_frame(void **state)
{
	struct fixture *f = *state;
	const struct mon_plan *p;

	f->in.console_socket = "/s";
	f->in.pty_given = f->in.foreground = f->in.marks = true;
	p = plan(f, HEAD PROC ",\"hostname\":\"h\"}");
	assert_int_equal(p->version, PROTO_VERSION);
	assert_string_equal(p->id, "c1");
	assert_string_equal(p->ctr.id, "c1");
	assert_string_equal(p->state_dir, "/run/cor/c1");
	assert_string_equal(p->vm.share, "/run/cor/c1/share");
	assert_string_equal(strrchr(p->root, '/'), "/rootfs");
	assert_string_equal(p->console_socket, "/s");
	assert_true(p->pty_given && p->foreground && p->marks && !p->root_readonly && !p->vm.kvm);
	assert_int_equal(p->boot_timeout_ms, f->settings.boot_timeout_ns / 1000000);
	assert_string_equal(p->vm.hypervisor_path, "/bin/true");
	assert_string_equal(strrchr(p->vm.kernel, '/'), "/vmlinux");
	assert_true(p->vm.vcpus >= 1 && p->vm.memory > 0 && p->vm.memory % (1 << 20) == 0);
	assert_string_equal(p->ctr.hostname, "h");
	assert_null(p->vm.hypervisor_preload);
}

static void test_mounts(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *json;
		uint32_t kind;
		const char *source, *type;
		uint64_t flags;
		bool is_file, recursive, readonly;
		const char *bind; /* last part of the bind's source; NULL = no bind */
	} cases[] = {
		{ "\"type\":\"tmpfs\",\"source\":\"t\",\"options\":[\"nosuid\",\"size=1m\"]", MOUNT_FS, "t",
		  "tmpfs", MS_NOSUID, false, false, false, NULL },
		{ "\"type\":\"cgroup\",\"source\":\"cgroup\",\"options\":[\"ro\"]", MOUNT_CGROUP, "cgroup",
		  "cgroup", MS_RDONLY, false, false, false, NULL },
		{ "\"type\":\"cgroup2\",\"source\":\"cgroup\"", MOUNT_CGROUP, "cgroup", "cgroup2", 0, false,
		  false, false, NULL },
		{ "\"type\":\"bind\",\"source\":\"dir\",\"options\":[\"bind\"]", MOUNT_SHARE, "m0", "bind", 0,
		  false, false, false, "/dir" },
		{ "\"type\":\"bind\",\"source\":\"link\",\"options\":[\"rbind\",\"ro\"]", MOUNT_SHARE, "m0",
		  "bind", MS_RDONLY, false, true, true, "/dir" },
		{ "\"type\":\"none\",\"source\":\"file\",\"options\":[\"bind\",\"rro\"]", MOUNT_SHARE, "m0",
		  "none", 0, true, false, true, "/file" },
		{ "\"source\":\"/dev/null\",\"options\":[\"bind\"]", MOUNT_SHARE, "m0", NULL, 0, true, false,
		  false, "/null" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		scoped_free char *json =
			str_fmt(HEAD PROC ",\"mounts\":[{\"destination\":\"/d/e\",%s}]}", cases[i].json);
		const struct mon_plan *p = plan(f, json);
		const struct msg_mount *m = &p->ctr.mounts.p[0];

		assert_int_equal(p->ctr.mounts.n, 1);
		if (m->kind != cases[i].kind || (m->flags & (MS_RDONLY | MS_NOSUID)) != cases[i].flags ||
		    m->is_file != cases[i].is_file || m->recursive != cases[i].recursive ||
		    !str_eq(m->source, cases[i].source) || (cases[i].type && !str_eq(m->type, cases[i].type)))
			fail_msg("%s", cases[i].json);
		assert_string_equal(m->dest, "/d/e");
		assert_int_equal(p->binds.n, cases[i].bind ? 1 : 0);
		if (!cases[i].bind)
			continue;
		assert_string_equal(p->binds.p[0].name, "m0");
		assert_string_equal(p->binds.p[0].dest, "/d/e");
		assert_string_equal(strrchr(p->binds.p[0].source, '/'), cases[i].bind);
		if (p->binds.p[0].readonly != cases[i].readonly ||
		    p->binds.p[0].is_file != cases[i].is_file ||
		    p->binds.p[0].recursive != cases[i].recursive)
			fail_msg("bind of %s", cases[i].json);
	}
}

static void test_faults(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *json, *text;
		int code;
	} cases[] = {
		{ HEAD PROC
		  ",\"mounts\":[{\"destination\":\"/a\",\"type\":\"tmpfs\"},{\"destination\":\"/d\","
		  "\"type\":\"bind\",\"source\":\"nothing\",\"options\":[\"bind\"]}]}",
		  "mounts[1].source: nothing: No such file", -ENOENT },
		{ HEAD PROC ",\"mounts\":[{\"destination\":\"/d\",\"source\":\"x\"}]}", "mounts[0].type",
		  -EINVAL },
		{ "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"file\"}," PROC "}", "is not a directory",
		  -ENOTDIR },
		{ "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"gone\"}," PROC "}", "root.path: gone",
		  -ENOENT },
	};
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		if (make(f, cases[i].json, &e) != cases[i].code || !strstr(e.msg, cases[i].text))
			fail_msg("%s: %d %s", cases[i].json, e.code, e.msg);
	assert_int_equal(tmpdir_write(f->t, "initrd", ""), 0);
	assert_int_equal(make(f, HEAD PROC "}", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "cor-image os"));
	assert_int_equal(unlinkat(f->t->fd, "vmlinux", 0), 0);
	assert_int_equal(make(f, HEAD PROC "}", &e), -ENOENT);
	assert_non_null(strstr(e.msg, "guest kernel"));
}

static void test_namespaces(void **state)
{
	static const uint64_t base =
		CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	struct fixture *f = *state;
	char host[256] = "";
	const struct mon_plan *p;

	assert_int_equal(gethostname(host, sizeof host - 1), 0);
	p = plan(f, HEAD PROC "}");
	assert_int_equal(p->ctr.namespaces, base);
	assert_int_equal(p->namespaces.n, 0);
	assert_string_equal(p->ctr.hostname, host); /* the host's uts namespace: its name */
	p = plan(f, HEAD PROC ",\"linux\":{\"namespaces\":[{\"type\":\"uts\"},{\"type\":\"user\"},{\"type\":"
			      "\"time\"},{\"type\":\"network\"}]}}");
	assert_int_equal(p->ctr.namespaces, base | CLONE_NEWUSER | 0x80);
	assert_int_equal(p->namespaces.n, 1);
	assert_int_equal(p->namespaces.p[0].type, CLONE_NEWNET);
	assert_null(p->namespaces.p[0].path);
	assert_null(p->ctr.hostname);
	p = plan(f,
		 HEAD PROC ",\"linux\":{\"namespaces\":[{\"type\":\"network\",\"path\":\"/run/netns/x\"}]}}");
	assert_string_equal(p->namespaces.p[0].path, "/run/netns/x");
}

static void test_process(void **state)
{
	struct fixture *f = *state;
	const struct msg_process *p;

	p = &plan(f, HEAD
		  "\"process\":{\"terminal\":true,\"consoleSize\":{\"height\":7,\"width\":9},\"args\":[\"a\","
		  "\"b c\"],\"env\":[\"A=1\",\"B=\"],\"cwd\":\"/w\",\"user\":{\"uid\":1,\"gid\":2,"
		  "\"umask\":63,\"additionalGids\":[3,4]},\"noNewPrivileges\":true,\"oomScoreAdj\":-5,"
		  "\"capabilities\":{\"bounding\":[\"CAP_KILL\"],\"effective\":[\"CAP_CHOWN\"]},"
		  "\"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"soft\":10,\"hard\":20}]},"
		  "\"linux\":{\"personality\":{\"domain\":\"LINUX32\"}}}")
		     ->ctr.process;
	assert_true(p->terminal && p->no_new_privs && p->has_umask && p->has_caps && p->has_oom_score_adj);
	assert_int_equal(p->rows, 7);
	assert_int_equal(p->cols, 9);
	assert_int_equal(p->uid, 1);
	assert_int_equal(p->gid, 2);
	assert_int_equal(p->umask, 63);
	assert_int_equal(p->gids.n, 2);
	assert_int_equal(p->gids.p[1], 4);
	assert_int_equal(p->args.n, 2);
	assert_string_equal(p->args.p[1], "b c");
	assert_int_equal(p->env.n, 2);
	assert_string_equal(p->env.p[1], "B=");
	assert_string_equal(p->cwd, "/w");
	assert_int_equal(p->oom_score_adj, -5);
	assert_int_equal(p->caps.bounding, 1u << 5);
	assert_int_equal(p->caps.effective, 1u << 0);
	assert_int_equal(p->caps.permitted, 0);
	assert_int_equal(p->rlimits.n, 1);
	assert_int_equal(p->rlimits.p[0].soft, 10);
	assert_int_equal(p->rlimits.p[0].hard, 20);
	assert_true(p->has_personality && p->personality == 8);
	assert_true(f->plan.has_oom_score_adj && f->plan.oom_score_adj == -5);
	p = &plan(f, HEAD
		  "\"process\":{\"consoleSize\":{\"height\":7,\"width\":9},\"args\":[\"a\"],\"cwd\":\"/\"}}")
		     ->ctr.process;
	assert_int_equal(p->rows, 0); /* no terminal, no size */
	assert_false(p->has_caps || p->has_umask || p->has_oom_score_adj || p->has_personality);
}

static void test_resources(void **state)
{
	static const struct {
		const char *json;
		bool limit, swap, host;
		int64_t mem, host_mem;
	} memory[] = {
		{ "{}", false, false, false, 0, 0 },
		{ "{\"limit\":0,\"swap\":0}", false, false, false, 0, 0 },
		{ "{\"limit\":-1,\"swap\":-1}", true, true, false, -1, 0 },
		{ "{\"limit\":1000}", true, false, true, 1000, 1100 },
		{ "{\"limit\":9223372036854775807}", true, false, true, INT64_MAX, -1 },
	};
	struct fixture *f = *state;
	struct cgroup_limits host;
	const struct msg_resources *r;
	struct err e;

	for (size_t i = 0; i < ARRAY_LEN(memory); i++) {
		scoped_free char *json =
			str_fmt(HEAD PROC ",\"linux\":{\"resources\":{\"memory\":%s}}}", memory[i].json);

		r = &plan(f, json)->ctr.resources;
		assert_int_equal(plan_host_limits(&f->spec.lnx.resources, 100, &f->mem, &host, &e), 0);
		if (r->has_mem_limit != memory[i].limit || r->has_mem_swap != memory[i].swap ||
		    (r->has_mem_limit && r->mem_limit != memory[i].mem) ||
		    host.has_memory != memory[i].host ||
		    (host.has_memory && host.memory != memory[i].host_mem))
			fail_msg("%s", memory[i].json);
		assert_int_equal(host.memory_overhead, 100);
	}
	r = &plan(f, HEAD PROC
		  ",\"linux\":{\"resources\":{\"cpu\":{\"shares\":2,\"quota\":-1,\"period\":5000,"
		  "\"cpus\":\"0-1\"},\"pids\":{\"limit\":-1},\"unified\":{\"a.b\":\"c\"},\"blockIO\":{"
		  "\"weight\":100,\"throttleReadBpsDevice\":[{\"major\":8,\"minor\":1,\"rate\":9}]},"
		  "\"devices\":[{\"allow\":false,\"access\":\"rwm\"},{\"allow\":true,\"type\":\"c\","
		  "\"major\":1,\"minor\":3,\"access\":\"r\"}]}}}")
		     ->ctr.resources;
	assert_true(r->has_cpu_shares && r->has_cpu_quota && r->has_cpu_period && r->has_pids &&
		    r->has_devices);
	assert_int_equal(r->cpu_shares, 2);
	assert_int_equal(r->cpu_quota, -1);
	assert_int_equal(r->cpu_period, 5000);
	assert_int_equal(r->pids_limit, -1);
	assert_null(r->cpus); /* the host's numbers mean nothing in the guest */
	assert_string_equal(r->unified.p[0].key, "a.b");
	assert_int_equal(r->devices.n, 2);
	assert_int_equal(r->devices.p[0].major, -1);
	assert_int_equal(r->devices.p[1].minor, 3);
	assert_int_equal(r->devices.p[1].access, 1);
	assert_int_equal(plan_host_limits(&f->spec.lnx.resources, 0, &f->mem, &host, &e), 0);
	assert_string_equal(host.cpus, "0-1");
	assert_true(host.has_quota && host.quota == -1 && host.has_weight && host.weight == 100);
	assert_false(host.has_pids || host.has_memory);
	assert_int_equal(host.read_bps.n, 1);
	assert_int_equal(host.read_bps.p[0].value, 9);
}

static void set(struct fixture *f, const char *arg)
{
	struct err e = { 0 };

	if (settings_set_arg(&f->settings, arg, &e) < 0)
		fail_msg("%s: %s", arg, e.msg);
}

/* cor-vmm where KVM works; QEMU if it is asked for, or the machine is too large. */
static void test_hypervisor(void **state)
{
	static const char *const ours[] = { "cor-vmm", "cor-jail", "cor-fsd" };
	struct fixture *f = *state;
	const struct mon_plan *p;
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		assert_int_equal(tmpdir_write(f->t, ours[i], "x"), 0);
	f->in.libexecdir = f->t->path;
	set(f, "template=off");
	set(f, "qemu.accel=auto");
	kvm_works = true;
	p = plan(f, HEAD PROC "}");
	assert_int_equal(p->vm.hypervisor, PLAN_HV_QEMU); /* by qemu.path */
	assert_true(p->vm.kvm);
	f->settings.qemu_path = NULL;
	set(f, "vm.vcpus=64");
	p = plan(f, HEAD PROC "}");
	assert_int_equal(p->vm.hypervisor, PLAN_HV_KVM);
	assert_int_equal(p->vm.vcpus, 64);
	assert_int_equal(f->warnings.n, 0);
	set(f, "qemu.share=virtiofs"); /* a key of QEMU's: that is what is meant */
	if (access("/usr/bin/qemu-system-x86_64", X_OK) == 0) {
		p = plan(f, HEAD PROC "}");
		assert_int_equal(p->vm.hypervisor, PLAN_HV_QEMU);
		assert_true(p->vm.jail_path && p->vm.fsd_path);
		assert_int_equal(unlinkat(f->t->fd, "cor-fsd", 0), 0);
		assert_int_equal(make(f, HEAD PROC "}", &e), -ENOENT);
		assert_non_null(strstr(e.msg, "cor-fsd: No such file"));
		assert_int_equal(tmpdir_write(f->t, "cor-fsd", "x"), 0);
	}
	set(f, "qemu.share=9p");
	set(f, "vm.vcpus=65");
	if (access("/usr/bin/qemu-system-x86_64", X_OK) == 0) {
		p = plan(f, HEAD PROC "}");
		assert_int_equal(p->vm.hypervisor, PLAN_HV_QEMU);
		assert_int_equal(p->vm.vcpus, 65);
		assert_true(p->vm.kvm && p->vm.memory > 0 && !p->vm.jail_path);
		assert_int_equal(f->warnings.n, 1);
		assert_non_null(strstr(f->warnings.p[0], "65 vCPUs"));
	}
	set(f, "hypervisor=kvm");
	assert_int_equal(make(f, HEAD PROC "}", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "hypervisor = auto"));
	set(f, "vm.vcpus=1");
	kvm_works = false;
	assert_int_equal(make(f, HEAD PROC "}", &e), -ENODEV);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_frame),      T(test_mounts),  T(test_faults),
					    T(test_namespaces), T(test_process), T(test_resources),
					    T(test_hypervisor) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
