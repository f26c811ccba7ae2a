/* Scopes, with a stand-in for systemd: a script in the place of the bus tool writes down how it is
 * called and does with the cgroup what systemd would do. The test program has a /run of its own. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/io.h"
#include "sys/cgroup.h"
#include "sys/proc.h"
#include "sys/share.h"

static char dir[] = "/tmp/cor-systemd-XXXXXX";
static char mount_point[256]; /* of cgroup v2; "" = none */

static const struct cgroup_layout *layout(void)
{
	static char controllers[] = "";
	static struct cgroup_hier h = { .v2 = true, .controllers = controllers, .mount = mount_point };
	static const struct cgroup_layout l = { .kind = CGROUP_V2, .hiers = &h, .n = 1 };

	return &l;
}

/* Where an env variable can't go: into a script of its own. */
static void install(const char *body)
{
	scoped_free char *path = str_fmt("%s/busctl", dir);
	scoped_free char *text = str_fmt("#!/bin/sh\nexport M=%s D=%s\n%s\n", mount_point, dir, body);
	scoped_fd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
}

static const char systemd[] =
	"echo \"$@\" >> $D/log\n"
	"while [ \"$1\" != org.freedesktop.systemd1.Manager ]; do shift; done; shift\n"
	"case $1 in\n"
	"StartTransientUnit) S=$M/cortest.slice/$3; mkdir -p $S; echo $9 > $S/cgroup.procs;;\n"
	"StopUnit) rmdir $M/cortest.slice/$3 $M/cortest.slice 2>/dev/null; exit 0;;\n"
	"esac\n";

static int group_setup(void **state)
{
	struct cgroup_layout l = { 0 };
	scoped_free char *path = NULL;

	if (geteuid() != 0 || cgroup_layout_read(&l) < 0)
		return 0;
	if (l.n > 0 && l.hiers[0].v2 && access(l.hiers[0].mount, W_OK) == 0)
		(void)snprintf(mount_point, sizeof mount_point, "%s", l.hiers[0].mount);
	cgroup_layout_fini(&l);
	if (share_isolate(NULL) < 0 || mount("run", "/run", "tmpfs", 0, NULL) < 0 || !mkdtemp(dir))
		return -1;
	path = str_fmt("%s:/usr/sbin:/usr/bin:/sbin:/bin", dir);
	return setenv("PATH", path, 1);
}

static int group_teardown(void **state)
{
	return io_remove_tree_at(AT_FDCWD, dir);
}

static void need(void)
{
	if (*mount_point)
		return;
	print_message("# skipped: needs root and a writable cgroup v2\n");
	skip();
}

static void test_absent(void **state)
{
	struct cgroup c = { 0 };
	struct err e = { 0 };

	need();
	assert_int_equal(cgroup_plan(layout(), CGROUP_SYSTEMD, NULL, "x", &c, &e), -ENOENT);
	assert_string_equal(e.msg, "systemd not running on this host, cannot use systemd cgroups manager");
	assert_int_equal(mkdir("/run/systemd", 0755), 0);
	assert_int_equal(mkdir("/run/systemd/system", 0755), 0);
}

static void test_names(void **state)
{
	static const struct {
		const char *path, *unit, *dir; /* unit NULL = refused */
	} cases[] = {
		{ NULL, "cor-c1.scope", "/system.slice/cor-c1.scope" },
		{ "", "cor-c1.scope", "/system.slice/cor-c1.scope" },
		{ ":cri:abc", "cri-abc.scope", "/system.slice/cri-abc.scope" },
		{ "machine.slice:libpod:abc", "libpod-abc.scope", "/machine.slice/libpod-abc.scope" },
		{ "user-1000-x.slice:a:b", "a-b.scope",
		  "/user.slice/user-1000.slice/user-1000-x.slice/a-b.scope" },
		{ "-.slice:a:b", "a-b.scope", "/a-b.scope" },
		{ "x.slice::b", "b.scope", "/x.slice/b.scope" },
		{ "/a/b", NULL, NULL },
		{ "x.slice:a", NULL, NULL },
		{ "x.slice:a:b:c", NULL, NULL },
		{ "x.slice:a:", NULL, NULL },
		{ "x.slice:a:../b", NULL, NULL },
		{ "../x.slice:a:b", NULL, NULL },
		{ "x:a:b", NULL, NULL },
		{ "-x.slice:a:b", NULL, NULL },
		{ "x-.slice:a:b", NULL, NULL },
		{ "x--y.slice:a:b", NULL, NULL },
		{ ".slice:a:b", NULL, NULL },
		{ "x.slice:a:b c", NULL, NULL },
	};
	struct cgroup c = { 0 };
	struct err e;
	int r;

	need();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		r = cgroup_plan(layout(), CGROUP_SYSTEMD, cases[i].path, "c1", &c, &e);
		if (!cases[i].unit) {
			assert_int_equal(r, -EINVAL);
			assert_non_null(strstr(e.msg, "cgroupsPath"));
			continue;
		}
		assert_int_equal(r, 0);
		assert_string_equal(c.unit, cases[i].unit);
		assert_string_equal(c.dirs[0].path + strlen(mount_point), cases[i].dir);
		cgroup_fini(&c);
	}
}

static void log_has(const char *want)
{
	scoped_free char *path = str_fmt("%s/log", dir);
	scoped_free char *text = NULL;
	size_t len;

	assert_int_equal(io_read_file_at(AT_FDCWD, path, 65536, &text, &len), 0);
	if (!strstr(text, want))
		fail_msg("\"%s\" is not in the log: %s", want, text);
}

static void test_life(void **state)
{
	struct cgroup_limits l = { .has_pids = true, .pids = 10, .has_quota = true, .quota = 50000 };
	struct cgroup c = { 0 }, again = { 0 };
	struct strv warnings = { 0 }, lines = { 0 };
	scoped_free char *start = NULL;
	struct err e = { 0 };
	pid_t *pids, placeholder;
	size_t n;

	need();
	install(systemd);
	assert_int_equal(cgroup_plan(layout(), CGROUP_SYSTEMD, "cortest.slice:cor:x", "x", &c, &e), 0);
	/* no controller in this hierarchy: the limits can't hold, and all is undone */
	assert_int_equal(cgroup_create(&c, &l, &warnings, &e), -EOPNOTSUPP);
	assert_int_equal(c.placeholder, 0);
	assert_int_equal(access(c.dirs[0].path, F_OK), -1);
	log_has("TasksMax t 266");
	log_has("CPUQuotaPerSecUSec t 500000");
	log_has("StopUnit ss cor-x.scope replace");
	if (cgroup_create(&c, &(struct cgroup_limits){ 0 }, &warnings, &e) < 0)
		fail_msg("%s", e.msg);
	placeholder = c.placeholder;
	start = str_fmt(
		"StartTransientUnit ssa(sv)a(sa(sv)) cor-x.scope fail 6 PIDs au 1 %d Description s virtual "
		"machine of a container Slice s cortest.slice Delegate b true DefaultDependencies b false "
		"CollectMode s inactive-or-failed 0",
		(int)placeholder);
	log_has(start);
	assert_int_equal(cgroup_pids(&c, &pids, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(pids[0], placeholder);
	free(pids);
	cgroup_settled(&c);
	assert_int_equal(kill(placeholder, 0), -1);
	assert_int_equal(cgroup_encode(&c, &lines), 0);
	assert_int_equal(cgroup_decode(&lines, &again), 0);
	assert_string_equal(again.unit, "cor-x.scope");
	assert_int_equal(cgroup_apply(&again, &(struct cgroup_limits){ .has_pids = true, .pids = 1 }, &e),
			 -EOPNOTSUPP);
	log_has("SetUnitProperties sba(sv) cor-x.scope true 1 TasksMax t 257");
	assert_int_equal(cgroup_remove(&again, 1000, &e), 0);
	assert_int_equal(access(c.dirs[0].path, F_OK), -1);
	cgroup_fini(&c);
	cgroup_fini(&again);
	strv_fini(&warnings);
	strv_fini(&lines);
}

/* A scope of the same name that is just ending is waited for; other refusals are reported. */
static void test_refused(void **state)
{
	struct strv warnings = { 0 };
	struct cgroup c = { 0 };
	struct err e = { 0 };

	need();
	assert_int_equal(cgroup_plan(layout(), CGROUP_SYSTEMD, "cortest.slice:cor:y", "y", &c, &e), 0);
	install("echo 'Call failed: Access denied' >&2; exit 1");
	assert_int_equal(cgroup_create(&c, &(struct cgroup_limits){ 0 }, &warnings, &e), -EIO);
	assert_non_null(strstr(e.msg, "Access denied"));
	assert_int_equal(c.placeholder, 0);
	install("case \"$*\" in *StartTransient*) if [ -e $D/once ]; then :; else : > $D/once; echo 'Unit "
		"already "
		"exists.' >&2; exit 1; fi;; esac\n"
		"echo \"$@\" >> $D/log\n"
		"while [ \"$1\" != org.freedesktop.systemd1.Manager ]; do shift; done; shift\n"
		"case $1 in StartTransientUnit) S=$M/cortest.slice/$3; mkdir -p $S; echo $9 > "
		"$S/cgroup.procs;; esac");
	if (cgroup_create(&c, &(struct cgroup_limits){ 0 }, &warnings, &e) < 0)
		fail_msg("%s", e.msg);
	log_has("ResetFailedUnit s cor-y.scope");
	cgroup_settled(&c);
	install(systemd);
	assert_int_equal(cgroup_remove(&c, 1000, &e), 0);
	cgroup_fini(&c);
	strv_fini(&warnings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("sys/cgroup_systemd", tests, group_setup, group_teardown);
}
