/* What the agent makes before it is asked (agent/park.h, agent/ready.h): a container that was made from it
 * and one that was made without it are the same, whatever they ask for. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "unit.h"

#include "agent/child.h"
#include "base/io.h"
#include "box.h"

/* Mounts without their numbers (nor in their order: newer kernels list the ones first that were made first),
 * and all of /dev (but what fd leads to) with types, owners and modes. */
static const char look[] =
	"awk '{ $1 = $2 = $3 = \"\"; print }' /proc/self/mountinfo | sort; for f in /dev /dev/* "
	"/dev/[!f]*/*; do "
	"stat -c '%N %f %u %g %t:%T' $f; done; ls -a /proc/fs /proc/irq; cat /dev/null; head -c 1 /dev/zero "
	"| wc -c; hostname";

static struct msg_mount *usual(struct ctr_box *b, const char *dest, const char *type, const char *source,
			       unsigned long flags, const char *data)
{
	struct msg_mount *m = ctr_box_mount(b, MOUNT_FS, dest, type, source);

	m->flags = flags;
	m->data = lit(data);
	return m;
}

/* As `cor spec` has it. */
static void usual_box(struct ctr_box *b)
{
	static char *masked[4], *readonly[2];

	masked[0] = lit("/proc/fs");
	masked[1] = lit("/proc/timer_list"); /* a file */
	masked[2] = lit("/sys/firmware");
	masked[3] = lit("/proc/irq");
	readonly[0] = lit("/proc/sys");
	readonly[1] = lit("/proc/bus");
	shell_init(b, look);
	b->c.mounts.n = 0;
	usual(b, "/proc", "proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
	usual(b, "/dev", "tmpfs", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	usual(b, "/dev/pts", "devpts", "devpts", MS_NOSUID | MS_NOEXEC,
	      "newinstance,ptmxmode=0666,mode=0620,gid=5");
	usual(b, "/dev/shm", "tmpfs", "shm", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k");
	usual(b, "/dev/mqueue", "mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL);
	usual(b, "/sys", "sysfs", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL);
	b->c.masked_paths = (struct pack_strs){ masked, ARRAY_LEN(masked) };
	b->c.readonly_paths = (struct pack_strs){ readonly, ARRAY_LEN(readonly) };
}

/* The agent's children, as text. */
static char *children(void)
{
	char path[64], *text = NULL;
	size_t n;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)host.agent, (int)host.agent);
	if (io_read_file_at(AT_FDCWD, path, 4096, &text, &n) < 0)
		fail_msg("%s", path);
	return text;
}

/* Runs it; returns what it wrote. *used: the child that waited became it. */
static char *run_one(struct ctr_box *b, bool *used)
{
	char *before = children(), *after, *text;
	struct run r;

	run_init(&r);
	assert_int_equal(host_create(&host, &b->c, &r), 0);
	after = children();
	*used = *before && strcmp(before, after) == 0;
	assert_int_equal(host_start_ctr(&host, &r), 0);
	host_finish(&host, &r);
	text = run_text(r.out);
	assert_int_equal(r.status, 0);
	run_fini(&r);
	free(before);
	free(after);
	return text;
}

/* The first container of an agent gets what was made in advance, the second what is made for it. */
static void expect_same(struct ctr_box *b, bool used)
{
	char *first, *second;
	bool first_used, second_used;

	box_stop(NULL);
	box_start(NULL);
	first = run_one(b, &first_used);
	second = run_one(b, &second_used);
	assert_int_equal(first_used, used);
	assert_false(second_used);
	assert_true(*first);
	assert_string_equal(first, second);
	free(first);
	free(second);
}

static void test_same(void **state unused_arg)
{
	static struct msg_device d[] = {
		{ .type = S_IFCHR, .major = 1, .minor = 3, .mode = 0600, .uid = 7, .gid = 8 },
		{ .type = S_IFCHR, .major = 1, .minor = 11, .mode = 0640 }
	};
	struct ctr_box b;

	NEED_HOST;
	usual_box(&b);
	expect_same(&b, true);
	/* A node of the container's own in place of a default one, and another. */
	d[0].path = lit("/dev/null");
	d[1].path = lit("/dev/kmsg");
	b.c.devices.p = d;
	b.c.devices.n = 2;
	expect_same(&b, true);
}

static void test_other_mounts(void **state unused_arg)
{
	struct ctr_box b;

	NEED_HOST;
	usual_box(&b);
	b.mounts[3].data = lit("mode=1770,size=1m"); /* /dev/shm */
	b.mounts[0].flags = MS_NOSUID;               /* /proc */
	b.mounts[1].flags |= MS_RDONLY;              /* /dev */
	expect_same(&b, true);
	usual_box(&b);
	b.c.mounts.n = 2; /* no /dev/pts, /dev/shm, /dev/mqueue: not even as directories */
	expect_same(&b, true);
	usual_box(&b);
	usual(&b, "/dev/extra", "tmpfs", "tmpfs", MS_NOSUID, "mode=711");
	usual(&b, "/dev/fuse", "tmpfs", "tmpfs", 0, NULL);
	expect_same(&b, true);
	usual_box(&b);
	usual(&b, "/again", "tmpfs", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	usual(&b, "/pts", "devpts", "devpts", MS_NOSUID | MS_NOEXEC,
	      "newinstance,ptmxmode=0666,mode=0620,gid=5");
	expect_same(&b, true);
	usual_box(&b);
	usual(&b, "/dev", "tmpfs", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	expect_same(&b, true);
	usual_box(&b);
	b.mounts[1].tmpcopyup = true;
	expect_same(&b, true);
}

static void test_other_namespaces(void **state unused_arg)
{
	static const uint64_t without[] = { CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP };
	struct ctr_box b;

	NEED_HOST;
	for (size_t i = 0; i < ARRAY_LEN(without); i++) {
		usual_box(&b);
		b.c.namespaces &= ~without[i];
		if (without[i] == CLONE_NEWUTS)
			b.c.hostname = NULL;
		expect_same(&b, false);
	}
}

/* A request that is too large for the child that waits. */
static void test_large(void **state unused_arg)
{
	struct ctr_box b;
	char *text;

	NEED_HOST;
	text = calloc(1, CHILD_REQUEST_MAX + 16);
	assert_non_null(text);
	memset(text, 'x', CHILD_REQUEST_MAX + 8);
	memcpy(text, "A=", 2);
	usual_box(&b);
	b.env[1] = text;
	b.c.process.env.n = 2;
	expect_same(&b, false);
	text[CHILD_REQUEST_MAX - 8192] = '\0';
	expect_same(&b, true);
	free(text);
}

/* What was killed while it waited is made anew. */
static void test_killed(void **state unused_arg)
{
	struct ctr_box b;
	char *text, *end;
	pid_t pid;

	NEED_HOST;
	text = children();
	pid = (pid_t)strtol(text, &end, 10);
	assert_true(pid > 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	free(text);
	for (int i = 0; i < 10000 && kill(pid, 0) == 0; i++) /* until the agent has buried it */
		(void)usleep(1000);
	shell_init(&b, "echo lives");
	expect(&b, "lives\n", 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, box_start, box_stop)
	const struct CMUnitTest tests[] = {
		T(test_same), T(test_other_mounts), T(test_other_namespaces), T(test_large), T(test_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
