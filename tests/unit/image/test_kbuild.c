/* test_kbuild.c - the way of a kernel's build, with a made-up source that "compiles" by copying a file: what
 * comes out and where, when it is built anew, what is refused, and that nothing half done is left. */
#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image/child.h"
#include "image/kbuild.h"

#define RELEASE "6.12.9-cor-clear"

struct world {
	char *dir; /* cache/ fragments/ src/ */
	char *cache, *fragments, *tarball;
	struct ui ui;
};

/* The makefile of the source: the targets that a build calls. `config` and `vmlinux` are their commands. */
static void write_source(const struct world *w, const char *config, const char *vmlinux)
{
	scoped_free char *text =
		str_fmt("allnoconfig:\n\t%s\n\nvmlinux:\n\t@echo '  CC      a.o'\n\t%s\n", config, vmlinux);
	scoped_free char *src = str_fmt("%s/src", w->dir);
	const char *const argv[] = { "tar", "-cJf", w->tarball, "-C", src, "linux-source-6.12", NULL };
	const struct child c = { .argv = argv, .in_fd = -1, .out_fd = -1 };
	scoped_str kernel = { 0 };

	fix_kernel(&kernel, FIX_NOTE_PVH);
	fix_write(src, "linux-source-6.12/kernel", kernel.p, kernel.len);
	fix_write(src, "linux-source-6.12/Makefile", text, strlen(text));
	assert_int_equal(child_run(&c, NULL), 0);
}

static const char take_config[] = "cp $(KCONFIG_ALLCONFIG) $(O)/.config";
static const char make_kernel[] =
	"mkdir -p $(O)/include/config && echo " RELEASE " >$(O)/include/config/kernel.release && "
	"echo kernel/fs/9p/9p.ko >$(O)/modules.builtin && cp kernel $(O)/vmlinux && "
	"echo \"$$MAKEFLAGS$(KBUILD_BUILD_TIMESTAMP)\" | grep -q '@[0-9]' && test -z \"$$KBUILD_OUTPUT\"";

static int setup(void **state)
{
	static const char base[] = "CONFIG_A=y # a\n", clear[] = "CONFIG_B=n # b\n",
			  full[] = "CONFIG_B=y # c\n";
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->dir = fix_mkdir();
	w->cache = str_fmt("%s/some/cache", w->dir);
	w->fragments = str_fmt("%s/fragments", w->dir);
	w->tarball = str_fmt("%s/linux.tar.xz", w->dir);
	w->ui.quiet = true;
	fix_write(w->fragments, "base.config", base, strlen(base));
	fix_write(w->fragments, "clear.config", clear, strlen(clear));
	fix_write(w->fragments, "full.config", full, strlen(full));
	write_source(w, take_config, make_kernel);
	assert_int_equal(setenv("KBUILD_OUTPUT", "/elsewhere", 1), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	assert_int_equal(unsetenv("KBUILD_OUTPUT"), 0);
	fix_rmdir(w->dir);
	free(w->dir);
	free(w->cache);
	free(w->fragments);
	free(w->tarball);
	free(w);
	return 0;
}

static struct kbuild_opts opts(const struct world *w)
{
	return (struct kbuild_opts){ .profile = "clear",
				     .source = w->tarball,
				     .fragments = w->fragments,
				     .cache = w->cache,
				     .jobs = 1 };
}

static void make(struct world *w, const struct kbuild_opts *o, struct kernel *k, bool want_changed)
{
	struct err e = { 0 };
	bool changed = !want_changed;

	kernel_fini(k);
	if (kbuild_make(o, &w->ui, k, &changed, &e) < 0)
		fail_msg("%s", e.msg);
	assert_int_equal(changed, want_changed);
}

static void refuse(struct world *w, const struct kbuild_opts *o, const char *says)
{
	scoped_kernel k = { 0 };
	struct err e = { 0 };
	bool changed = false;

	assert_true(kbuild_make(o, &w->ui, &k, &changed, &e) < 0);
	if (!strstr(e.msg, says))
		fail_msg("'%s' is not in '%s'", says, e.msg);
	assert_null(k.vmlinuz);
}

/* The build's directory holds nothing temporary. */
static void expect_clean(const struct world *w)
{
	static const char *const parts[] = { "tmp.deb", "tmp.src", "tmp.obj", "tmp.out" };

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		scoped_free char *path = str_fmt("%s/build/%s", w->cache, parts[i]);

		assert_int_equal(access(path, F_OK), -1);
	}
}

static void test_build(void **state)
{
	struct world *w = *state;
	const struct kbuild_opts o = opts(w);
	scoped_kernel k = { 0 }, found = { 0 };
	scoped_str kernel = { 0 }, want = { 0 }, config = { 0 }, order = { 0 };

	assert_int_equal(kbuild_find(w->cache, "clear", &found, NULL), -ENOENT);
	make(w, &o, &k, true);
	expect_clean(w);
	assert_string_equal(k.release, RELEASE);
	assert_string_equal(k.origin, "built clear of linux.tar.xz");
	fix_read("", k.vmlinuz, &kernel);
	fix_kernel(&want, FIX_NOTE_PVH);
	assert_int_equal(kernel.len, want.len);
	assert_memory_equal(kernel.p, want.p, want.len);
	fix_read("", k.config, &config);
	assert_string_equal(config.p, "CONFIG_A=y\n# CONFIG_B is not set\n");
	str_add(&order, "");
	fix_read(k.modules, "modules.order", &order);
	assert_int_equal(order.len, 0);
	assert_int_equal(kbuild_find(w->cache, "clear", &found, NULL), 0);
	assert_string_equal(found.vmlinuz, k.vmlinuz);
	assert_int_equal(kbuild_find(w->cache, "full", &found, NULL), -ENOENT);
	assert_int_equal(kbuild_find(w->cache, "../clear", &found, NULL), -EINVAL);
}

/* Equal inputs are built once; each input counts. */
static void test_cached(void **state)
{
	static const char other[] = "CONFIG_A=y # another reason\n", new[] = "CONFIG_C=y # new\n";
	struct world *w = *state;
	struct kbuild_opts o = opts(w);
	scoped_free char *config = str_fmt("%s/my.config", w->dir);
	scoped_kernel k = { 0 }, first = { 0 };

	make(w, &o, &first, true);
	make(w, &o, &k, false);
	assert_string_equal(k.vmlinuz, first.vmlinuz);
	fix_write(w->fragments, "base.config", other, strlen(other));
	make(w, &o, &k, false); /* a reason is no input */
	fix_write(w->dir, "my.config", new, strlen(new));
	o.config = config;
	make(w, &o, &k, true);
	assert_string_not_equal(k.vmlinuz, first.vmlinuz);
	o.config = NULL;
	make(w, &o, &k, false); /* the first one is still there, and the profile's again */
	kernel_fini(&k);
	assert_int_equal(kbuild_find(w->cache, "clear", &k, NULL), 0);
	assert_string_equal(k.vmlinuz, first.vmlinuz);
	o.profile = "full";
	make(w, &o, &k, true);
	o.profile = "clear";
	write_source(w, take_config, make_kernel); /* of another time */
	make(w, &o, &k, true);
	o.force = true;
	make(w, &o, &k, true);
}

static void test_config_only(void **state)
{
	struct world *w = *state;
	struct kbuild_opts o = opts(w);
	scoped_kernel k = { 0 };
	scoped_str config = { 0 };

	o.config_only = true;
	o.profile = "full";
	make(w, &o, &k, true);
	assert_null(k.vmlinuz);
	fix_read("", k.config, &config);
	assert_string_equal(config.p, "CONFIG_A=y\nCONFIG_B=y\n");
	make(w, &o, &k, false);
	o.config_only = false;
	make(w, &o, &k, true);
}

static void test_dropped(void **state)
{
	struct world *w = *state;
	const struct kbuild_opts o = opts(w);

	write_source(w, "echo CONFIG_B=y >$(O)/.config", make_kernel);
	refuse(w, &o, "did not take CONFIG_A=y CONFIG_B=n: ");
	expect_clean(w);
}

static void test_fails(void **state)
{
	struct world *w = *state;
	const struct kbuild_opts o = opts(w);
	scoped_kernel k = { 0 };

	write_source(w, take_config, "echo 'a.c:1:2: error: no such thing' >&2; false");
	refuse(w, &o, "kernel's make vmlinux: a.c:1:2: error: no such thing (all of it: ");
	expect_clean(w);
	write_source(w, take_config, "false");
	refuse(w, &o, "kernel's make vmlinux");
	write_source(w, take_config,
		     "mkdir -p $(O)/include/config; echo a/b >$(O)/include/config/kernel.release");
	refuse(w, &o, "a strange release 'a/b'");
	write_source(w, take_config,
		     "mkdir -p $(O)/include/config; echo 1 >$(O)/include/config/kernel.release; "
		     "echo text >$(O)/vmlinux");
	refuse(w, &o, "not an ELF file");
	assert_int_equal(kbuild_find(w->cache, "clear", &k, NULL), -ENOENT);
	expect_clean(w);
}

static void test_bad_source(void **state)
{
	struct world *w = *state;
	struct kbuild_opts o = opts(w);
	scoped_free char *deb = str_fmt("%s/x.deb", w->dir), *none = str_fmt("%s/none.tar.xz", w->dir);

	fix_write(w->dir, "linux.tar.xz", "text", 4);
	refuse(w, &o, "tar failed");
	fix_write(w->dir, "x.deb", "text", 4);
	o.source = deb;
	refuse(w, &o, "dpkg-deb failed");
	o.source = none;
	refuse(w, &o, "no such file");
	o = opts(w);
	o.profile = "fast";
	refuse(w, &o, "no kernel profile 'fast': there are clear, full");
	fix_write(w->fragments, "clear.config", "CONFIG_B=n\n", 11);
	o.profile = "clear";
	refuse(w, &o, "clear.config:1: ");
	expect_clean(w);
}

/* What is missing is named before anything is unpacked. */
static void test_missing_tools(void **state)
{
	struct world *w = *state;
	struct kbuild_opts o = opts(w);
	scoped_free char *path = strdup(getenv("PATH")), *tools = str_fmt("%s/tools", w->dir);
	static const char *const there[] = { "gcc", "ld" };

	for (size_t i = 0; i < ARRAY_LEN(there); i++) {
		static const char script[] = "#!/bin/sh\necho 1.0\n";
		scoped_free char *file = str_fmt("%s/%s", tools, there[i]);

		fix_write(tools, there[i], script, strlen(script));
		assert_int_equal(chmod(file, 0755), 0);
	}
	assert_int_equal(setenv("PATH", tools, 1), 0);
	refuse(w, &o, "install the packages make flex bison");
	assert_int_equal(setenv("PATH", path, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_build, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cached, setup, teardown),
		cmocka_unit_test_setup_teardown(test_config_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_source, setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing_tools, setup, teardown),
	};

	return cmocka_run_group_tests_name("image/kbuild", tests, NULL, NULL);
}
