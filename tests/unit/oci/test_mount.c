/* test_mount.c - mount options become flags: every option of the spec's table, their order, data. */
#include "unit.h"

#include <errno.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/mount.h>

#include "oci/names.h"
#include "oci/spec.h"

static int try_load(struct spec *s, const char *destination, const char *type, const char *options,
		    struct err *e)
{
	scoped_free char *text =
		str_fmt("{\"ociVersion\":\"1.0.0\",\"mounts\":[{\"destination\":\"%s\",\"type\":\"%s\","
			"\"source\":\"/src\",\"options\":[%s]}]}",
			destination, type, options);

	assert_non_null(text);
	return spec_parse(text, strlen(text), s, e);
}

static void load(struct spec *s, const char *destination, const char *type, const char *options)
{
	struct err e = { 0 };

	if (try_load(s, destination, type, options, &e) < 0)
		fail_msg("%s: %s", options, e.msg);
	assert_int_equal(s->mounts.n, 1);
}

/* The spec's words; a name that is missing in the table would become data of the file system. */
static void test_every_option_is_known(void **state)
{
	static const char *const must[] = {
		"async",
		"atime",
		"bind",
		"defaults",
		"dev",
		"diratime",
		"dirsync",
		"exec",
		"iversion",
		"lazytime",
		"loud",
		"noatime",
		"nodev",
		"nodiratime",
		"noexec",
		"noiversion",
		"nolazytime",
		"norelatime",
		"nostrictatime",
		"nosuid",
		"private",
		"rbind",
		"relatime",
		"remount",
		"ro",
		"rprivate",
		"rshared",
		"rslave",
		"runbindable",
		"rw",
		"shared",
		"silent",
		"slave",
		"strictatime",
		"suid",
		"sync",
		"unbindable",
		/* should: */ "ratime",
		"rdev",
		"rdiratime",
		"rexec",
		"rnoatime",
		"rnodev",
		"rnodiratime",
		"rnoexec",
		"rnorelatime",
		"rnostrictatime",
		"rnosuid",
		"rnosymfollow",
		"rrelatime",
		"rro",
		"rrw",
		"rstrictatime",
		"rsuid",
		"rsymfollow",
		"nosymfollow",
		"symfollow",
		"idmap",
		"ridmap",
		"mand",
		"nomand",
		"tmpcopyup",
	};

	for (size_t i = 0; i < ARRAY_LEN(must); i++)
		if (!mount_option_find(must[i]))
			fail_msg("%s is not in the table", must[i]);
	assert_int_equal(ARRAY_LEN(must), mount_options_n);
	for (size_t i = 1; i < mount_options_n; i++)
		assert_true(strcmp(mount_options[i - 1].name, mount_options[i].name) < 0);
}

static void test_flags(void **state)
{
	static const struct {
		const char *options;
		uint64_t set, clear, propagation, rec_set, rec_clear;
		const char *data;
		bool bind, recursive;
	} rows[] = {
		{ "\"ro\",\"nosuid\",\"nodev\",\"noexec\"", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC },
		{ "\"ro\",\"rw\"", 0, MS_RDONLY },
		{ "\"rw\",\"ro\"", MS_RDONLY, 0 },
		{ "\"defaults\"", 0 },
		{ "\"rbind\",\"rprivate\",\"rslave\"", 0, 0, MS_SLAVE | MS_REC, 0, 0, NULL, true, true },
		{ "\"bind\",\"shared\"", 0, 0, MS_SHARED, 0, 0, NULL, true, false },
		{ "\"mode=755\",\"nosuid\",\"size=64k\"", MS_NOSUID, 0, 0, 0, 0, "mode=755,size=64k" },
		{ "\"rro\",\"rnosuid\"", 0, 0, 0, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0 },
		{ "\"rro\",\"rrw\"", 0, 0, 0, 0, MOUNT_ATTR_RDONLY },
		{ "\"rrw\",\"rro\"", 0, 0, 0, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY },
		{ "\"rnoatime\"", 0, 0, 0, MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME },
		{ "\"rnoatime\",\"rstrictatime\"", 0, 0, 0, MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
		{ "\"rrelatime\"", 0, 0, 0, 0, MOUNT_ATTR__ATIME },
		{ "\"strictatime\",\"\"", MS_STRICTATIME },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_spec s = { 0 };
		const struct spec_mount *m;

		load(&s, "/a", "tmpfs", rows[i].options);
		m = s.mounts.p;
		assert_true(m->flags_set == rows[i].set);
		assert_true(m->flags_clear == rows[i].clear);
		assert_true(m->propagation == rows[i].propagation);
		assert_true(m->rec_set == rows[i].rec_set);
		assert_true(m->rec_clear == rows[i].rec_clear);
		assert_true(str_eq(m->data, rows[i].data));
		assert_int_equal(m->bind, rows[i].bind);
		assert_int_equal(m->recursive, rows[i].recursive);
	}
}

static void test_special(void **state)
{
	scoped_spec s = { 0 };

	load(&s, "/a", "bind", "\"idmap\",\"tmpcopyup\"");
	assert_true(s.mounts.p->bind && !s.mounts.p->recursive);
	assert_true(s.mounts.p->idmap && !s.mounts.p->ridmap && s.mounts.p->tmpcopyup);
	spec_fini(&s);
	load(&s, "/a", "none", "\"ridmap\",\"rbind\"");
	assert_true(s.mounts.p->bind && s.mounts.p->recursive && s.mounts.p->ridmap);
	assert_string_equal(s.mounts.p->type, "none");
	assert_string_equal(s.mounts.p->source, "/src");
	assert_int_equal(s.mounts.p->options.n, 2);
}

/* crun's way to say the mappings. */
static void test_idmap_option(void **state)
{
	static const char *const bad[] = {
		"idmap=",
		"idmap=uids",
		"idmap=uids=",
		"idmap=uids=0-1",
		"idmap=uids=0-1-0;gids=0-1-1",
		"idmap=uids=0-1-1;uids=0-1-1",
		"idmap=uids=@0-1-1;gids=0-1-1",
		"idmap=uids=0-1-1#;gids=0-1-1",
		"idmap=uids=0-1-1,gids=0-1-1",
		"idmap=uids=0-1-1;gids=0-4294967295-2",
		"idmap=uids=0-1-1;gids=0-4294967296-1",
		"idmap=uids=0- 1-1;gids=0-1-1",
		"idmap=uids=0-1-1;gids=0-1-1;x",
		"idmap=uids=0-1-1;gids=0-1-1\",\"ridmap=uids=0-1-1;gids=0-1-1",
	};
	const struct spec_mount *m;
	scoped_spec s = { 0 };

	load(&s, "/a", "bind", "\"ridmap=uids=0-100000-10#10-7-4294967285;gids=5-6-7\",\"ro\"");
	m = s.mounts.p;
	assert_true(m->ridmap && !m->idmap && m->has_uid_mappings && m->has_gid_mappings && !m->data);
	assert_int_equal(m->uid_mappings.n, 2);
	assert_int_equal(m->uid_mappings.p[0].host_id, 100000);
	assert_int_equal(m->uid_mappings.p[1].container_id, 10);
	assert_int_equal(m->uid_mappings.p[1].host_id, 7);
	assert_int_equal(m->uid_mappings.p[1].size, 4294967285);
	assert_int_equal(m->gid_mappings.n, 1);
	assert_int_equal(m->gid_mappings.p[0].container_id, 5);
	assert_int_equal(m->gid_mappings.p[0].size, 7);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		scoped_free char *options = str_fmt("\"%s\"", bad[i]);
		struct err e = { 0 };

		spec_fini(&s);
		assert_int_equal(try_load(&s, "/a", "bind", options, &e), -EINVAL);
		assert_non_null(strstr(e.msg, "mounts[0].options: \""));
	}
}

static void test_destinations(void **state)
{
	static const struct {
		const char *from, *to;
	} rows[] = {
		{ "/a/b", "/a/b" },
		{ "a/b", "/a/b" },
		{ "//a///b/", "/a/b" },
		{ "/proc/../etc/passwd", "/etc/passwd" },
		{ "../../../../etc", "/etc" },
		{ "/a/./b/../c", "/a/c" },
	};
	static const char *const bad[] = { "/", "..", "/a/..", "./", "" };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_spec s = { 0 };

		load(&s, rows[i].from, "tmpfs", "");
		assert_string_equal(s.mounts.p->destination, rows[i].to);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		scoped_free char *text =
			str_fmt("{\"ociVersion\":\"1.0.0\",\"mounts\":[{\"destination\":\"%s\"}]}", bad[i]);
		scoped_spec s = { 0 };
		struct err e = { 0 };

		assert_non_null(text);
		assert_int_equal(spec_parse(text, strlen(text), &s, &e), -EINVAL);
		assert_true(str_starts(e.msg, "config.json: mounts[0].destination: must "));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_option_is_known),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_special),
		cmocka_unit_test(test_idmap_option),
		cmocka_unit_test(test_destinations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
