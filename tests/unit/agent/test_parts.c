/* The agent's parsers and tables, without an agent. */
#include <errno.h>
#include <string.h>

#include "unit.h"

#include "agent/limits.h"
#include "agent/process.h"
#include "agent/sched.h"
#include "agent/stats.h"
#include "agent/user.h"

static void homes(void **state)
{
	static const struct {
		const char *passwd;
		uint32_t uid;
		const char *home;
	} rows[] = {
		{ "root:x:0:0:root:/root:/bin/sh\n", 0, "/root" },
		{ "root:x:0:0:root:/root:/bin/sh\n", 1, "/" },
		{ "", 0, "/" },
		{ "a:x:5:5::/home/a:/bin/sh\nb:x:5:5::/home/b:/bin/sh", 5, "/home/a" },
		{ "a:x:05:5::/zero:/bin/sh\n", 5, "/zero" },
		{ "a:x:5", 5, "/" },
		{ "a:x:5:5:", 5, "/" },
		{ "a:x:5:5::", 5, "/" },
		{ "a:x:5:5::/last", 5, "/last" },
		{ ":::::\n\n:\nx", 0, "/" },
		{ "a:x:-1:5::/neg:", 4294967295u, "/" },
		{ "a:x:4294967301:5::/wrap:", 5, "/" },
		{ "a:x: 5:5::/blank:", 5, "/" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *home = user_home(rows[i].passwd, rows[i].uid);

		assert_string_equal(home, rows[i].home);
		free(home);
	}
}

static void users(void **state)
{
	static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
				     "broken\n"
				     "bad:x:-1:7::/:\n"
				     "app:x:1000:1001::/app:/bin/sh\n"
				     "7:x:70:71::/seven:/bin/sh\n"
				     "twin:x:1000:9::/twin:/bin/sh\n"
				     "far:x:4294967295:1::/:\n"
				     "last:x:8:9::/last:";
	static const char group[] = "root:x:0:\nwheel:x:10:root,app\naudio:x:63:app,twin\napp:x:1001:\n"
				    "none:x:zz:app\nempty:x:77\n9:x:900:\npart:x:5:apple,ap";
	static const struct {
		const char *who;
		uint32_t uid, gid;
		uint32_t gids[3];
		size_t n;
		const char *error;
	} rows[] = {
		{ "root", 0, 0, { 10 }, 1, NULL },
		{ "0", 0, 0, { 10 }, 1, NULL },
		{ "app", 1000, 1001, { 10, 63 }, 2, NULL },
		/* the first entry of a number; a name that is a number stands before it */
		{ "1000", 1000, 1001, { 10, 63 }, 2, NULL },
		{ "7", 70, 71, { 0 }, 0, NULL },
		{ "71", 71, 0, { 0 }, 0, NULL },
		{ "last", 8, 9, { 0 }, 0, NULL },
		/* a group that is given is the only one */
		{ "app:audio", 1000, 63, { 0 }, 0, NULL },
		{ "app:5000", 1000, 5000, { 0 }, 0, NULL },
		{ "app:9", 1000, 900, { 0 }, 0, NULL },
		{ "5:6", 5, 6, { 0 }, 0, NULL },
		{ "app:", 1000, 1001, { 10, 63 }, 2, NULL },
		{ ":audio", 0, 63, { 0 }, 0, NULL },
		{ "", 0, 0, { 0 }, 0, NULL },
		{ "nobody",
		  0,
		  0,
		  { 0 },
		  0,
		  "unable to find user nobody: no matching entries in passwd file" },
		{ "bad", 0, 0, { 0 }, 0, "unable to find user bad: no matching entries in passwd file" },
		{ "far", 0, 0, { 0 }, 0, "unable to find user far: no matching entries in passwd file" },
		{ "broken",
		  0,
		  0,
		  { 0 },
		  0,
		  "unable to find user broken: no matching entries in passwd file" },
		{ "-1", 0, 0, { 0 }, 0, "unable to find user -1: no matching entries in passwd file" },
		{ "4294967295",
		  0,
		  0,
		  { 0 },
		  0,
		  "unable to find user 4294967295: no matching entries in passwd file" },
		{ "app:no", 0, 0, { 0 }, 0, "unable to find group no: no matching entries in group file" },
		{ "app:none",
		  0,
		  0,
		  { 0 },
		  0,
		  "unable to find group none: no matching entries in group file" },
		{ "a:b:c", 0, 0, { 0 }, 0, "unable to find user a: no matching entries in passwd file" },
	};
	static struct user u;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err e = { 0 };
		int r = user_find(rows[i].who, passwd, group, &u, &e);

		if (rows[i].error) {
			assert_int_equal(r, -ENOENT);
			assert_string_equal(e.msg, rows[i].error);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(u.uid, rows[i].uid);
		assert_int_equal(u.gid, rows[i].gid);
		assert_int_equal(u.n_gids, rows[i].n);
		for (size_t k = 0; k < u.n_gids; k++)
			assert_int_equal(u.gids[k], rows[i].gids[k]);
	}
}

/* A file that lists the user in more groups than a process can have. */
static void many_groups(void **state)
{
	static struct user u;
	scoped_str group = { 0 };
	struct err e = { 0 };

	for (unsigned i = 0; i < 3 * USER_GROUPS_MAX; i++)
		str_addf(&group, "g%u:x:%u:a\n", i, i);
	assert_int_equal(user_find("a", "a:x:1:2", group.p, &u, &e), 0);
	assert_int_equal(u.n_gids, USER_GROUPS_MAX);
	assert_int_equal(u.gids[USER_GROUPS_MAX - 1], USER_GROUPS_MAX - 1);
}

static void cpu_lists(void **state)
{
	static const struct {
		const char *list;
		int r;
		uint64_t first, second;
	} rows[] = {
		{ "0", 0, 1, 0 },
		{ "0-3,5", 0, 0x2f, 0 },
		{ "63-64", 0, UINT64_C(1) << 63, 1 },
		{ "1023", 0, 0, 0 },
		{ "1024", -ERANGE, 0, 0 },
		{ "3-1", -EINVAL, 0, 0 },
		{ "", -EINVAL, 0, 0 },
		{ "1,", -EINVAL, 0, 0 },
		{ "-1", -EINVAL, 0, 0 },
		{ "1-2-3", -EINVAL, 0, 0 },
		{ "0-99999999999999999999", -ERANGE, 0, 0 },
		{ "a", -EINVAL, 0, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t mask[SCHED_CPU_WORDS] = { 0 };

		assert_int_equal(sched_parse_cpus(rows[i].list, mask), rows[i].r);
		assert_true(mask[0] == rows[i].first && mask[1] == rows[i].second);
	}
}

static void weights(void **state)
{
	static const uint64_t rows[][2] = {
		{ 0, 1 }, { 2, 1 }, { 3, 1 }, { 1024, 39 }, { 262144, 10000 }, { UINT64_MAX, 10000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(limits_weight(rows[i][0]), rows[i][1]);
}

static void inner_pids(void **state)
{
	uint32_t pids[4] = { 0 };

	assert_int_equal(stats_parse_nspid("Name:\tx\nNSpid:\t77\t1\nNSpgid:\t1\n", pids, 4), 2);
	assert_true(pids[0] == 77 && pids[1] == 1);
	assert_int_equal(stats_parse_nspid("\nNSpid:\t5\n", pids, 4), 1);
	assert_int_equal(stats_parse_nspid("\nNSpid:\t1\t2\t3\t4\t5\n", pids, 4), 4);
	assert_int_equal(stats_parse_nspid("\nNSpid:\tx\n", pids, 4), 0);
	assert_int_equal(stats_parse_nspid("\nNSpid:\t99999999999999\n", pids, 4), 0);
	assert_int_equal(stats_parse_nspid("\nNSpid:", pids, 4), 0);
	assert_int_equal(stats_parse_nspid("Name:\tx\n", pids, 4), 0);
}

static void lookups(void **state)
{
	static const struct {
		const char *name, *path;
		int r;
		const char *found, *text;
	} rows[] = {
		{ "sh", "PATH=/nowhere:/bin", 0, "/bin/sh", NULL },
		{ "sh", "PATH=", -ENOENT, NULL, "exec: \"sh\": executable file not found in $PATH" },
		{ "sh", "PATH=/bin:", 0, "/bin/sh", NULL },
		{ "sh", "HOME=/", 0, NULL, NULL }, /* the default path */
		{ "/bin/sh", "PATH=", 0, "/bin/sh", NULL },
		{ "", "PATH=/bin", -ENOENT, NULL, "executable file not found in $PATH" },
		{ "/etc", "PATH=", -EISDIR, NULL, "exec: \"/etc\": is a directory" },
		{ "/etc/passwd", "PATH=", -EACCES, NULL, "exec: \"/etc/passwd\": permission denied" },
		{ "/etc/passwd/x", "PATH=", -ENOTDIR, NULL, "not a directory" },
		{ "/nope", "PATH=", -ENOENT, NULL, "exec: \"/nope\": stat /nope: no such file or directory" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *args[] = { strdup(rows[i].name), NULL }, *env[] = { strdup(rows[i].path), NULL };
		struct msg_process p = { .args = { args, 1 }, .env = { env, 1 } };
		struct err e = { 0 };
		char *found = NULL;
		int fd = -1;

		assert_int_equal(process_lookup(&p, &found, &fd, &e), rows[i].r);
		assert_int_equal(fd >= 0, rows[i].r == 0);
		scope_close(&fd);
		if (rows[i].found)
			assert_string_equal(found, rows[i].found);
		if (rows[i].text && !strstr(e.msg, rows[i].text))
			fail_msg("\"%s\" is not in \"%s\"", rows[i].text, e.msg);
		free(found);
		free(args[0]);
		free(env[0]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(homes),     cmocka_unit_test(users),   cmocka_unit_test(many_groups),
		cmocka_unit_test(cpu_lists), cmocka_unit_test(weights), cmocka_unit_test(inner_pids),
		cmocka_unit_test(lookups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
