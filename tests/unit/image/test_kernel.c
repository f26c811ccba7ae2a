/* test_kernel.c - where a kernel comes from: the newest installed one of the right flavour, a package
 * file, a package that (a stand-in of) apt knows; and what the cache saves. */
#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/child.h"
#include "image/kernel.h"

#define PACKAGE "linux-image-" FIX_RELEASE
#define DEB     PACKAGE "_1%3a6.1-1_amd64.deb"

struct world {
	char *dir; /* root/ cache/ tools/ repo/ */
	char *root, *cache, *path;
	struct ui ui;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->dir = fix_mkdir();
	w->root = str_fmt("%s/root", w->dir);
	w->cache = str_fmt("%s/some/cache", w->dir);
	w->path = strdup(getenv("PATH"));
	w->ui.quiet = true;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	assert_int_equal(setenv("PATH", w->path, 1), 0);
	fix_rmdir(w->dir);
	free(w->dir);
	free(w->root);
	free(w->cache);
	free(w->path);
	free(w);
	return 0;
}

static int find(struct world *w, const char *package, struct kernel *ret, struct err *e)
{
	const struct kernel_opts o = { .package = package, .cache = w->cache, .root = w->root };

	return kernel_find(&o, &w->ui, ret, e);
}

static void find_ok(struct world *w, const char *package, const char *release)
{
	scoped_kernel k = { 0 };
	struct err e = { 0 };

	if (find(w, package, &k, &e) < 0)
		fail_msg("not found: %s", e.msg);
	assert_string_equal(k.release, release);
	assert_int_equal(access(k.vmlinuz, R_OK), 0);
	assert_int_equal(access(k.modules, R_OK), 0);
	assert_non_null(k.origin);
}

static void install(struct world *w, const char *release, const char *modules)
{
	scoped_free char *boot = str_fmt("boot/vmlinuz-%s", release);
	scoped_free char *index = str_fmt("%s/%s/modules.order", modules, release);

	fix_write(w->root, boot, "", 0);
	if (*modules)
		fix_write(w->root, index, "", 0);
}

static void test_flavours(void **state)
{
	(void)state;
	assert_true(kernel_is_generic("6.1.0-56-amd64"));
	assert_true(kernel_is_generic("6.12.9+deb13-amd64"));
	assert_false(kernel_is_generic("6.1.0-56-cloud-amd64"));
	assert_false(kernel_is_generic("6.1.0-56-rt-amd64"));
	assert_false(kernel_is_generic("6.18.44-custom"));
}

static void test_newest_installed(void **state)
{
	struct world *w = *state;

	install(w, "6.1.0-9-amd64", "lib/modules");
	install(w, "6.1.0-10-amd64", "usr/lib/modules");
	install(w, "6.1.0-11-cloud-amd64", "lib/modules");
	install(w, "6.1.0-12-amd64", ""); /* its modules are not here */
	install(w, "6.1.0-8-amd64", "lib/modules");
	find_ok(w, NULL, "6.1.0-10-amd64");
	assert_int_equal(access(w->cache, F_OK), -1); /* and nothing else was touched */
}

/* A kernel package with a made-up kernel in it, in REPO. */
static void make_deb(struct world *w, bool with_kernel)
{
	static const char control[] = "Package: " PACKAGE "\nVersion: 1:6.1-1\nArchitecture: amd64\n"
				      "Maintainer: nobody\nDescription: a kernel\n";
	scoped_free char *tree = str_fmt("%s/tree", w->dir);
	scoped_free char *modules = str_fmt("%s/lib/modules/" FIX_RELEASE, tree);
	scoped_free char *repo = str_fmt("%s/repo", w->dir);
	scoped_free char *deb = str_fmt("%s/%s", repo, DEB);
	const char *const argv[] = { "dpkg-deb", "-b", tree, deb, NULL };
	const struct child c = { .argv = argv, .in_fd = -1, .out_fd = -1 };
	struct err e = { 0 };

	fix_write(tree, "DEBIAN/control", control, strlen(control));
	fix_write(repo, "calls", "", 0);
	if (with_kernel) {
		fix_vmlinuz(tree, "boot/vmlinuz-" FIX_RELEASE, FIX_NOTE_PVH);
		fix_modules(modules);
		fix_write(modules, "kernel/large.ko", "not needed", 10);
	}
	if (child_run(&c, &e) < 0)
		fail_msg("%s", e.msg);
}

static void test_package_file(void **state)
{
	struct world *w = *state;
	scoped_free char *deb = str_fmt("%s/repo/%s", w->dir, DEB);
	scoped_kernel k = { 0 };
	scoped_free char *large = NULL;

	make_deb(w, true);
	find_ok(w, deb, FIX_RELEASE);
	assert_int_equal(find(w, deb, &k, NULL), 0);
	large = str_fmt("%s/kernel/large.ko", k.modules);
	assert_int_equal(access(large, F_OK), -1); /* only what is needed was kept */
}

static void test_package_without_kernel(void **state)
{
	struct world *w = *state;
	scoped_free char *deb = str_fmt("%s/repo/%s", w->dir, DEB);
	scoped_free char *all = str_fmt("%s/tmp.all", w->cache);
	scoped_kernel k = { 0 };
	struct err e = { 0 };

	make_deb(w, false);
	assert_int_equal(find(w, deb, &k, &e), -ENOENT);
	assert_non_null(strstr(e.msg, "holds no kernel"));
	assert_int_equal(access(all, F_OK), -1);
	fix_write(w->dir, "repo/" DEB, "text", 4);
	assert_int_equal(find(w, deb, &k, &e), -EIO);
	assert_non_null(strstr(e.msg, "dpkg-deb failed"));
	assert_int_equal(access(all, F_OK), -1);
}

static void script(struct world *w, const char *name, const char *text)
{
	scoped_free char *file = str_fmt("tools/%s", name);
	scoped_free char *path = str_fmt("%s/%s", w->dir, file);

	fix_write(w->dir, file, text, strlen(text));
	assert_int_equal(chmod(path, 0755), 0);
}

/* Stand-ins for apt-cache and apt-get that know one metapackage and one kernel package. */
static void fake_apt(struct world *w)
{
	scoped_free char *repo = str_fmt("%s/repo", w->dir);
	scoped_free char *path = str_fmt("%s/tools:%s", w->dir, w->path);
	scoped_free char *deb = str_fmt("%s/%s", repo, DEB);
	scoped_free char *cache = NULL, *get = NULL;
	struct stat st;

	assert_int_equal(stat(deb, &st), 0);
	cache = str_fmt("#!/bin/sh\necho cache >>%s/calls\nfor p; do :; done\ncase $p in\n" KERNEL_PACKAGE
			") printf 'Package: " KERNEL_PACKAGE "\\nVersion: 6.1\\nDepends: a, " PACKAGE
			" (= 1)\\n\\nDepends: b\\n' ;;\n" PACKAGE ") printf 'Package: " PACKAGE
			"\\nVersion: 1:6.1-1\\nArchitecture: amd64\\nSize: %lld\\n\\nDepends: "
			"linux-image-other\\n' ;;\n*) exit 100 ;;\nesac\n",
			repo, (long long)st.st_size);
	get = str_fmt("#!/bin/sh\necho get >>%s/calls\nfor p; do :; done\n"
		      "[ \"$1 $p\" = 'download " PACKAGE "=1:6.1-1' ] && cp %s .\n",
		      repo, deb);
	assert_non_null(get);
	script(w, "apt-cache", cache);
	script(w, "apt-get", get);
	assert_int_equal(setenv("PATH", path, 1), 0);
}

static void expect_calls(const struct world *w, const char *want)
{
	scoped_str calls = { 0 };

	str_add(&calls, "");
	fix_read(w->dir, "repo/calls", &calls);
	assert_string_equal(calls.p, want);
}

/* The second time neither network nor apt is needed. */
static void test_download(void **state)
{
	struct world *w = *state;

	make_deb(w, true);
	fake_apt(w);
	find_ok(w, NULL, FIX_RELEASE);
	expect_calls(w, "cache\ncache\nget\n");
	find_ok(w, NULL, FIX_RELEASE);
	expect_calls(w, "cache\ncache\nget\n");
	fix_write(w->cache, "newest." KERNEL_PACKAGE, "1.000000000 " DEB, strlen("1.000000000 " DEB));
	find_ok(w, NULL, FIX_RELEASE); /* the lists are newer: apt is asked, but nothing downloaded */
	expect_calls(w, "cache\ncache\nget\ncache\ncache\n");
	find_ok(w, PACKAGE, FIX_RELEASE);
	expect_calls(w, "cache\ncache\nget\ncache\ncache\ncache\n");
}

static void test_offline(void **state)
{
	struct world *w = *state;
	scoped_free char *note = str_fmt("%s/newest." KERNEL_PACKAGE, w->cache);
	scoped_kernel k = { 0 };
	struct err e = { 0 };

	make_deb(w, true);
	fake_apt(w);
	find_ok(w, NULL, FIX_RELEASE);
	assert_int_equal(unlink(note), 0); /* as if the lists had changed */
	script(w, "apt-cache", "#!/bin/sh\nexit 100\n");
	find_ok(w, NULL, FIX_RELEASE);
	assert_int_equal(find(w, "linux-image-other", &k, &e),
			 -ENOENT); /* asked for by name: no substitute */
	assert_non_null(strstr(e.msg, "apt-get update"));
}

static void test_download_fails(void **state)
{
	struct world *w = *state;
	scoped_kernel k = { 0 };
	struct err e = { 0 };

	make_deb(w, true);
	fake_apt(w);
	script(w, "apt-get", "#!/bin/sh\necho 'E: no route to host' >&2\nexit 100\n");
	assert_int_equal(find(w, NULL, &k, &e), -EIO);
	assert_non_null(strstr(e.msg, "no route to host"));
	assert_non_null(strstr(e.msg, "network"));
}

static void test_bad_names(void **state)
{
	static const char *const names[] = { "-oDebug::x=1", "a b", "A", "", "x" };
	struct world *w = *state;

	make_deb(w, true);
	fake_apt(w);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		scoped_kernel k = { 0 };

		assert_int_equal(find(w, names[i], &k, NULL), -EINVAL);
	}
	expect_calls(w, "");
}

static void test_unknown(void **state)
{
	struct world *w = *state;
	const struct kernel_opts o = { .name = "fast", .cache = w->cache, .root = w->root };
	scoped_kernel k = { 0 };
	struct err e = { 0 };

	assert_int_equal(kernel_find(&o, &w->ui, &k, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "--kernel is stock or a profile: no kernel profile 'fast'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flavours),
		cmocka_unit_test_setup_teardown(test_newest_installed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_package_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_package_without_kernel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_download, setup, teardown),
		cmocka_unit_test_setup_teardown(test_offline, setup, teardown),
		cmocka_unit_test_setup_teardown(test_download_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unknown, setup, teardown),
	};

	return cmocka_run_group_tests_name("image/kernel", tests, NULL, NULL);
}
