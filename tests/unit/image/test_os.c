/* test_os.c - a whole build from a made-up kernel and modules: what comes out, when nothing is done,
 * what is refused, and that the output directory changes as a whole or not at all. */
#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image/child.h"
#include "image/os.h"

struct world {
	char *dir; /* holds vmlinuz, modules/, agent, out */
	char *vmlinuz, *modules, *agent, *out;
	struct strv bundles;
	struct ui ui;
	bool dax;
};

static void write_agent(const char *dir, const char *interp, const char *more)
{
	scoped_str agent = { 0 };

	fix_program(&agent, interp);
	str_add(&agent, more);
	fix_put32(&agent, 64 + 32, (uint32_t)agent.len); /* all of it is loaded */
	fix_write(dir, "agent", agent.p, agent.len);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->dir = fix_mkdir();
	w->vmlinuz = str_fmt("%s/vmlinuz", w->dir);
	w->modules = str_fmt("%s/modules", w->dir);
	w->agent = str_fmt("%s/agent", w->dir);
	w->out = str_fmt("%s/some/where/os", w->dir);
	fix_modules(w->modules);
	fix_vmlinuz(w->dir, "vmlinuz", FIX_NOTE_PVH);
	write_agent(w->dir, NULL, "");
	w->ui.quiet = true;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	fix_rmdir(w->dir);
	free(w->dir);
	free(w->vmlinuz);
	free(w->modules);
	free(w->agent);
	free(w->out);
	strv_fini(&w->bundles);
	free(w);
	return 0;
}

static int build(struct world *w, bool force, bool *changed, struct err *e)
{
	const struct os_opts o = { .kernel = { .vmlinuz = w->vmlinuz, .modules = w->modules },
				   .agent = w->agent,
				   .out = w->out,
				   .bundles = &w->bundles,
				   .force = force,
				   .dax = w->dax };
	scoped_manifest m = { 0 };

	return os_build(&o, &w->ui, &m, changed, e);
}

static void expect_no_staging(const struct world *w)
{
	scoped_free char *staging = str_fmt("%s.new", w->out);

	assert_int_equal(access(staging, F_OK), -1);
}

static void build_ok(struct world *w, bool force, bool want_changed)
{
	struct err e = { 0 };
	bool changed = !want_changed;

	if (build(w, force, &changed, &e) < 0)
		fail_msg("build failed: %s", e.msg);
	assert_int_equal(changed, want_changed);
	expect_no_staging(w);
}

static void test_build(void **state)
{
	struct world *w = *state;
	scoped_str kernel = { 0 }, vmlinux = { 0 }, initrd = { 0 };
	scoped_manifest m = { 0 };

	build_ok(w, false, true);
	fix_kernel(&kernel, FIX_NOTE_PVH);
	fix_read(w->out, OS_VMLINUX, &vmlinux);
	assert_int_equal(vmlinux.len, kernel.len);
	assert_memory_equal(vmlinux.p, kernel.p, kernel.len);
	fix_read(w->out, OS_INITRD, &initrd);
	assert_non_null(
		memmem(initrd.p, initrd.len, "/lib/modules/virtio.ko\n/lib/modules/virtio_pci.ko\n", 50));
	assert_non_null(
		memmem(initrd.p, initrd.len, "virtiofs /lib/modules/fuse.ko /lib/modules/virtiofs.ko\n", 55));
	assert_non_null(memmem(initrd.p, initrd.len, "a static program", 16));
	assert_int_equal(os_verify(w->out, &m, NULL), 0);
	assert_string_equal(m.release, FIX_RELEASE);
}

static void test_reproducible(void **state)
{
	struct world *w = *state;
	scoped_str a = { 0 }, b = { 0 }, ma = { 0 }, mb = { 0 };

	build_ok(w, false, true);
	fix_read(w->out, OS_INITRD, &a);
	fix_read(w->out, MANIFEST_NAME, &ma);
	fix_rmdir(w->out);
	build_ok(w, false, true);
	fix_read(w->out, OS_INITRD, &b);
	fix_read(w->out, MANIFEST_NAME, &mb);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.p, b.p, a.len);
	assert_string_equal(ma.p, mb.p);
}

/* DIR/extra: a bundle with a file and a step. */
static void use_bundle(struct world *w, const char *text)
{
	scoped_free char *dir = str_fmt("%s/extra", w->dir);
	static const char lines[] =
		"cor-bundle 1\nfile text /etc/extra\nsysctl a.b 1\nmodule virtiofs boot optional\n";

	fix_write(dir, "bundle", lines, strlen(lines));
	fix_write(dir, "text", text, strlen(text));
	strv_fini(&w->bundles);
	strv_add(&w->bundles, dir);
}

/* A file system for a pmem device instead of an archive; only for a kernel without modules. */
static void test_dax(void **state)
{
	static const char builtin[] =
		"kernel/virtio_pci.ko\nkernel/virtio_console.ko\nkernel/9pnet_virtio.ko\n"
		"kernel/9p.ko\nkernel/overlay.ko\n";
	struct world *w = *state;
	scoped_str a = { 0 }, b = { 0 };
	scoped_manifest m = { 0 };
	struct err e = { 0 };
	bool changed;

	w->dax = true;
	assert_int_equal(build(w, false, &changed, &e), -ENOTSUP);
	assert_non_null(strstr(e.msg, "cor-image kernel"));
	fix_write(w->modules, "modules.order", "", 0);
	fix_write(w->modules, "modules.builtin", builtin, strlen(builtin));
	use_bundle(w, "words of a bundle");
	build_ok(w, false, true);
	fix_read(w->out, OS_INITRD, &a);
	assert_memory_equal(a.p + 1024, "\xe2\xe1\xf5\xe0", 4);
	assert_int_equal(a.len % (2u << 20), 0);
	assert_non_null(memmem(a.p, a.len, "words of a bundle", 17));
	assert_int_equal(os_verify(w->out, &m, NULL), 0);
	build_ok(w, false, false);
	fix_rmdir(w->out);
	build_ok(w, false, true);
	fix_read(w->out, OS_INITRD, &b);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.p, b.p, a.len);
	w->dax = false;
	build_ok(w, false, true);
}

static void test_bundles(void **state)
{
	struct world *w = *state;
	scoped_str a = { 0 }, b = { 0 }, ma = { 0 }, mb = { 0 };
	scoped_manifest m = { 0 };

	build_ok(w, false, true);
	use_bundle(w, "words of a bundle");
	build_ok(w, false, true); /* a new input */
	build_ok(w, false, false);
	fix_read(w->out, OS_INITRD, &a);
	fix_read(w->out, MANIFEST_NAME, &ma);
	assert_non_null(memmem(a.p, a.len, "words of a bundle", 17));
	assert_non_null(memmem(a.p, a.len, "sysctl a/b 1\n", 13));
	assert_non_null(memmem(a.p, a.len, "\n/lib/modules/virtiofs.ko\n", 26)); /* now at boot */
	fix_rmdir(w->out);
	build_ok(w, false, true);
	fix_read(w->out, OS_INITRD, &b);
	fix_read(w->out, MANIFEST_NAME, &mb);
	assert_int_equal(a.len, b.len); /* equal inputs, equal bytes */
	assert_memory_equal(a.p, b.p, a.len);
	assert_string_equal(ma.p, mb.p);
	assert_int_equal(os_verify(w->out, &m, NULL), 0);
	assert_int_equal(m.bundles.n, 1);
	assert_true(str_starts(m.bundles.p[0], "extra "));
	use_bundle(w, "other words");
	build_ok(w, false, true);
}

static ino_t inode(const struct world *w, const char *name)
{
	scoped_free char *path = str_fmt("%s/%s", w->out, name);
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

static void test_only_what_changed(void **state)
{
	struct world *w = *state;
	ino_t kernel;

	build_ok(w, false, true);
	build_ok(w, false, false);
	kernel = inode(w, OS_VMLINUX);
	write_agent(w->dir, NULL, "new");
	build_ok(w, false, true);
	assert_true(inode(w, OS_VMLINUX) == kernel); /* taken over */
	build_ok(w, true, true);
	assert_true(inode(w, OS_VMLINUX) != kernel);
	fix_write(w->out, OS_INITRD, "short", 5); /* damaged: made again */
	build_ok(w, false, true);
	build_ok(w, false, false);
}

static void refuse(struct world *w, int code, const char *says)
{
	struct err e = { 0 };
	bool changed = false;

	assert_int_equal(build(w, false, &changed, &e), code);
	if (!strstr(e.msg, says))
		fail_msg("'%s' is not in '%s'", says, e.msg);
	expect_no_staging(w);
}

static void test_refuses(void **state)
{
	struct world *w = *state;
	scoped_str before = { 0 }, after = { 0 };

	build_ok(w, false, true);
	fix_read(w->out, MANIFEST_NAME, &before);
	write_agent(w->dir, "/lib64/ld-linux-x86-64.so.2", "");
	refuse(w, -ENOEXEC, "must be static");
	fix_write(w->dir, "agent", "#!/bin/sh\n", 10);
	refuse(w, -ENOEXEC, "not an ELF");
	write_agent(w->dir, NULL, "");
	fix_vmlinuz(w->dir, "vmlinuz", FIX_NOTE_OTHER);
	refuse(w, -ENOEXEC, "PVH");
	fix_write(w->dir, "vmlinuz", "text", 4);
	refuse(w, -ENOEXEC, "not a Linux bzImage");
	fix_read(w->out, MANIFEST_NAME, &after);
	assert_string_equal(before.p, after.p); /* the old one is whole */
}

/* A stream that unpacks to more than the header says must not fill the disk. */
static void test_unpacks_to_more(void **state)
{
	static const char *const gzip[] = { "gzip", "-cn", NULL };
	struct world *w = *state;
	scoped_free char *packed = NULL, *big = calloc(1, 4 << 20);
	scoped_str image = { 0 };
	size_t len;

	assert_non_null(big);
	assert_int_equal(child_output(gzip, big, 4 << 20, 8 << 20, &packed, &len, NULL), 0);
	packed[len - 4] = 0; /* says 4 KiB */
	packed[len - 3] = 0x10;
	packed[len - 2] = 0;
	fix_bzimage(&image, packed, len, 0, 0);
	fix_write(w->dir, "vmlinuz", image.p, image.len);
	refuse(w, -EFBIG, "more than the limit of 4096");
}

static void test_foreign_directory(void **state)
{
	struct world *w = *state;
	scoped_str s = { 0 };

	fix_write(w->out, "precious", "data", 4);
	refuse(w, -ENOTEMPTY, "'precious'");
	fix_read(w->out, "precious", &s);
	assert_string_equal(s.p, "data");
}

/* A build that died left its staging directory: the next one takes it over. */
static void test_takes_over_staging(void **state)
{
	struct world *w = *state;
	scoped_free char *staging = str_fmt("%s.new", w->out);

	fix_write(staging, OS_VMLINUX, "half", 4);
	build_ok(w, false, true);
}

static void test_symlink_stays(void **state)
{
	struct world *w = *state;
	scoped_free char *real = str_fmt("%s/real", w->dir), *parent = str_fmt("%s/some/where", w->dir);
	scoped_manifest m = { 0 };
	struct stat st;

	assert_int_equal(io_mkdirs(parent, 0755), 0);
	assert_int_equal(mkdir(real, 0755), 0);
	assert_int_equal(symlink(real, w->out), 0);
	build_ok(w, false, true);
	assert_int_equal(lstat(w->out, &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(os_verify(real, &m, NULL), 0);
}

static void test_verify_sees_damage(void **state)
{
	struct world *w = *state;
	scoped_manifest m = { 0 };
	scoped_str initrd = { 0 };
	struct err e = { 0 };

	assert_int_equal(os_verify(w->out, &m, &e), -ENOENT);
	build_ok(w, false, true);
	fix_read(w->out, OS_INITRD, &initrd);
	initrd.p[initrd.len / 2] ^= 1;
	fix_write(w->out, OS_INITRD, initrd.p, initrd.len);
	assert_int_equal(os_verify(w->out, &m, &e), -EBADMSG);
	assert_non_null(strstr(e.msg, "initrd"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_build, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reproducible, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bundles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dax, setup, teardown),
		cmocka_unit_test_setup_teardown(test_only_what_changed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unpacks_to_more, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_takes_over_staging, setup, teardown),
		cmocka_unit_test_setup_teardown(test_symlink_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_verify_sees_damage, setup, teardown),
	};

	return cmocka_run_group_tests_name("image/os", tests, NULL, NULL);
}
