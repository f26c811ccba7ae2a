/* test_template.c - hyper/template.h and manifest.h without a VM: keys, hostile manifests, files that don't
 * hold what the manifest says, the lock, the limit. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "hyper/manifest.h"
#include "hyper/template.h"
#include "tmpdir.h"

#define MIB       1048576u
#define KEY       "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER_KEY "ff23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

struct rig {
	char *dir; /* borrowed */
	char *store_dir, *hv, *preload, *kernel, *initrd;
	int store;
	struct template_store s;
	struct vmcfg cfg;
};

static void put(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void setup(struct rig *r, void **state)
{
	static char cmdline[] = "quiet tsc_early_khz=2600000 panic=-1";

	struct tmpdir *t = *state;

	*r = (struct rig){ .dir = t->path };
	r->store_dir = str_fmt("%s/t/default", r->dir);
	r->hv = str_fmt("%s/qemu", r->dir);
	r->kernel = str_fmt("%s/kernel", r->dir);
	r->preload = str_fmt("%s/preload", r->dir);
	r->initrd = str_fmt("%s/initrd", r->dir);
	assert_non_null(r->initrd);
	put(r->hv, "hypervisor", 0755);
	put(r->preload, "preload", 0644);
	put(r->kernel, "kernel", 0644);
	put(r->initrd, "initrd", 0644);
	assert_int_equal(io_mkdirs(r->store_dir, 0700), 0);
	r->store = open(r->store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(r->store >= 0);
	r->s = (struct template_store){ .dir = r->store_dir };
	r->cfg = (struct vmcfg){ .hypervisor = PLAN_HV_QEMU,
				 .hypervisor_path = r->hv,
				 .hypervisor_preload = r->preload,
				 .kernel = r->kernel,
				 .initrd = r->initrd,
				 .cmdline = cmdline,
				 .memory = MIB,
				 .vcpus = 1,
				 .share = r->dir };
}

static void teardown(struct rig *r)
{
	close(r->store);
	free(r->store_dir);
	free(r->hv);
	free(r->preload);
	free(r->kernel);
	free(r->initrd);
}

/* A template as manifest_write() leaves it, with a memory file that has its blocks. */
static void make_template(struct rig *r, const char *key)
{
	scoped_free char *dir = str_fmt("%s/%s", r->store_dir, key);
	scoped_free char *memory = str_fmt("%s/memory", dir), *state = str_fmt("%s/state", dir);
	static char page[MIB];
	struct manifest m;
	int fd;

	assert_int_equal(mkdir(dir, 0700), 0);
	fd = open(memory, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	memset(page, 'm', sizeof page);
	assert_int_equal(io_write_full(fd, page, sizeof page), 0);
	assert_int_equal(fsync(fd), 0); /* blocks are counted */
	close(fd);
	put(state, "state of a machine", 0600);
	assert_int_equal(manifest_write(r->store, key, key, &r->cfg, &m), 0);
}

static char *file_of(const struct rig *r, const char *name)
{
	return str_fmt("%s/" KEY "/%s", r->store_dir, name);
}

static int check(const struct rig *r)
{
	struct manifest m;

	return manifest_check(r->store, KEY, MIB, &m);
}

static void test_key(void **state)
{
	static char other_tsc[] = "quiet tsc_early_khz=2599000 panic=-1", other[] = "quiet panic=1",
		    elsewhere[] = "/elsewhere", last[] = "quiet panic=-1 tsc_early_khz=2599000",
		    without[] = "quiet panic=-1";
	char *const tsc_last[] = { last, without };
	char *params[] = { other };
	struct vm_layer layer = { .size = 2 * MIB };
	char a[SHA256_HEX], b[SHA256_HEX], c[SHA256_HEX];
	struct vmcfg cfg;
	struct rig r;
	char *const *const files[] = { &r.hv, &r.preload, &r.kernel, &r.initrd };

	setup(&r, state);
	assert_int_equal(template_key(&r.cfg, a, NULL), 0);
	assert_true(manifest_is_key(a));
	cfg = r.cfg;
	cfg.share = elsewhere;
	cfg.cmdline = other_tsc;
	cfg.template_dir = elsewhere;
	cfg.merge = true;
	assert_int_equal(template_key(&cfg, b, NULL), 0);
	assert_string_equal(a, b); /* what a clone is given anew, and what is measured */
	for (size_t i = 0; i < ARRAY_LEN(tsc_last); i++) { /* if it can be measured */
		cfg.cmdline = tsc_last[i];
		assert_int_equal(template_key(&cfg, b, NULL), 0);
		assert_string_equal(a, b);
	}
	cfg = r.cfg;
	cfg.memory = 2 * MIB;
	assert_int_equal(template_key(&cfg, b, NULL), 0);
	assert_string_not_equal(a, b);
	cfg = r.cfg;
	cfg.vcpus = 2;
	assert_int_equal(template_key(&cfg, b, NULL), 0);
	assert_string_not_equal(a, b);
	cfg = r.cfg;
	cfg.cmdline = other;
	assert_int_equal(template_key(&cfg, b, NULL), 0);
	assert_string_not_equal(a, b);
	cfg = r.cfg;
	cfg.kvm = true;
	assert_int_equal(template_key(&cfg, b, NULL), 0);
	assert_string_not_equal(a, b);
	cfg = r.cfg;
	cfg.hypervisor_params = (struct pack_strs){ .p = params, .n = ARRAY_LEN(params) };
	assert_int_equal(template_key(&cfg, b, NULL), 0);
	assert_string_not_equal(a, b);
	cfg = r.cfg;
	cfg.layers.p = &layer;
	cfg.layers.n = 1;
	assert_int_equal(template_key(&cfg, b, NULL), 0);
	assert_string_not_equal(a, b);
	layer.size *= 2;
	assert_int_equal(template_key(&cfg, c, NULL), 0);
	assert_string_not_equal(b, c);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		put(*files[i], "more than there was", 0755);
		assert_int_equal(template_key(&r.cfg, b, NULL), 0);
		assert_string_not_equal(a, b);
		memcpy(a, b, sizeof a);
	}
	assert_int_equal(unlink(r.kernel), 0);
	assert_int_equal(template_key(&r.cfg, b, NULL), -ENOENT);
	teardown(&r);
}

static void test_manifest_text(void **state unused_arg)
{
	static const char good[] =
		"cor-template 2\nkey k\nboot b\nmemory 1\nmemory-inode 2\n"
		"memory-changed 3\nstate 4\nstate-inode 5\nstate-changed 6\nvcpus 5\nkvm 0\nmade 6\n";
	static const char *const bad[] = {
		"",
		"cor-template 2\n",
		("cor-template 1\nkey k\nboot b\nmemory 1\nmemory-inode 2\nmemory-changed 3\n"
		 "state 4\nstate-inode 5\nstate-changed 6\nvcpus 5\nkvm 0\nmade 6\n"),
		("cor-template 2\nboot b\nkey k\nmemory 1\nmemory-inode 2\nmemory-changed 3\n"
		 "state 4\nstate-inode 5\nstate-changed 6\nvcpus 5\nkvm 0\nmade 6\n"),
		("cor-template 2\nkey k\nboot b\nmemory -1\nmemory-inode 2\nmemory-changed 3\n"
		 "state 4\nstate-inode 5\nstate-changed 6\nvcpus 5\nkvm 0\nmade 6\n"),
		("cor-template 2\nkey k\nboot b\nmemory 1\nmemory-inode 2\nmemory-changed 3\n"
		 "state 4\nstate-inode 5\nstate-changed 6\nvcpus 5\nkvm 0\nmade 6\nmore 1\n"),
		("cor-template 2\nkey k\nboot b\nmemory 18446744073709551616\nmemory-inode 2\nmemory-changed "
		 "3\n"
		 "state 4\nstate-inode 5\nstate-changed 6\nvcpus 5\nkvm 0\nmade 6\n"),
	};
	struct manifest m;
	char text[2048];

	memcpy(text, good, sizeof good);
	assert_int_equal(manifest_parse(text, sizeof good - 1, &m), 0);
	assert_int_equal(m.v[MANIFEST_VCPUS], 5);
	for (size_t n = 0; n < sizeof good - 1; n++) { /* cut anywhere */
		memcpy(text, good, n);
		text[n] = 0;
		assert_int_equal(manifest_parse(text, n, &m), -EBADMSG);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		memcpy(text, bad[i], strlen(bad[i]) + 1);
		assert_int_equal(manifest_parse(text, strlen(bad[i]), &m), -EBADMSG);
	}
	memcpy(text, good, sizeof good);
	text[3] = 0;
	assert_int_equal(manifest_parse(text, sizeof good - 1, &m), -EBADMSG);
	memset(text, 'k', sizeof text - 1);
	text[sizeof text - 1] = 0;
	assert_int_equal(manifest_parse(text, sizeof text - 1, &m), -EBADMSG);
}

enum spoil { NOTHING, WRITE, CUT, GROW, MODE, LINK, MISSING, FIFO, SPOIL_N };

static void spoil(const struct rig *r, const char *name, enum spoil how)
{
	scoped_free char *path = file_of(r, name), *moved = file_of(r, "moved");
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	if (how == WRITE) {
		scoped_fd fd = open(path, O_WRONLY | O_CLOEXEC);

		struct stat now;

		do { /* until the clock that dates files has moved on, a tick at most */
			assert_int_equal(pwrite(fd, "X", 1, 3), 1);
			assert_int_equal(fstat(fd, &now), 0);
		} while (now.st_mtim.tv_sec == st.st_mtim.tv_sec &&
			 now.st_mtim.tv_nsec == st.st_mtim.tv_nsec);
	} else if (how == CUT) {
		assert_int_equal(truncate(path, st.st_size - 1), 0);
	} else if (how == GROW) {
		assert_int_equal(truncate(path, st.st_size + 1), 0);
	} else if (how == MODE) {
		assert_int_equal(chmod(path, 0646), 0);
	} else if (how != NOTHING) {
		assert_int_equal(rename(path, moved), 0);
		if (how == LINK)
			assert_int_equal(symlink("moved", path), 0);
		if (how == FIFO)
			assert_int_equal(mkfifo(path, 0400), 0);
	}
}

static void test_files(void **state)
{
	static const char *const names[] = { "memory", "state", "manifest" };

	for (size_t f = 0; f < ARRAY_LEN(names); f++) {
		for (enum spoil how = NOTHING; how < SPOIL_N; how++) {
			struct rig r;

			setup(&r, state);
			make_template(&r, KEY);
			assert_int_equal(check(&r), 0);
			spoil(&r, names[f], how);
			assert_int_equal(check(&r), how == NOTHING ? 0 : -ESTALE);
			assert_int_equal(io_remove_tree_at(r.store, KEY), 0);
			teardown(&r);
		}
	}
}

static void test_whole(void **state)
{
	scoped_free char *dir = NULL;
	struct manifest m;
	struct rig r;

	setup(&r, state);
	assert_int_equal(check(&r), -ENOENT);
	make_template(&r, KEY);
	assert_int_equal(manifest_check(r.store, KEY, 2 * MIB, &m), -ESTALE); /* another size */
	dir = file_of(&r, "");
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(check(&r), -ESTALE);
	assert_int_equal(chmod(dir, 0700), 0);
	assert_int_equal(check(&r), 0);
	/* under a name that is not its key */
	assert_int_equal(renameat(r.store, KEY, r.store, OTHER_KEY), 0);
	assert_int_equal(manifest_check(r.store, OTHER_KEY, MIB, &m), -ESTALE);
	teardown(&r);
}

static void drop(const char *dir)
{
	scoped_fd used = open(dir, O_PATH | O_CLOEXEC);

	template_drop(dir, used);
}

static void test_foreign(void **state)
{
	char key[SHA256_HEX];
	scoped_free char *dir = NULL;
	struct err e = { 0 };
	struct rig r;

	setup(&r, state);
	assert_int_equal(template_find(&r.s, &r.cfg, &dir, &e), -ENOENT);
	make_template(&r, KEY);
	assert_int_equal(template_key(&r.cfg, key, NULL), 0);
	assert_int_equal(renameat(r.store, KEY, r.store, key), 0);
	assert_int_equal(template_find(&r.s, &r.cfg, &dir, &e), -ESTALE);
	assert_int_equal(faccessat(r.store, key, F_OK, 0), -1); /* removed */
	make_template(&r, key);
	assert_int_equal(template_find(&r.s, &r.cfg, &dir, &e), 0);
	assert_true(str_ends(dir, key));
	drop(dir);
	assert_int_equal(faccessat(r.store, key, F_OK, 0), -1);
	teardown(&r);
}

/* A clone that times out late says nothing about the template that was made meanwhile. */
static void test_drop_late(void **state)
{
	scoped_free char *dir = NULL;
	scoped_fd used = -1;
	struct rig r;

	setup(&r, state);
	make_template(&r, KEY);
	dir = file_of(&r, "");
	dir[strlen(dir) - 1] = '\0';
	used = open(dir, O_PATH | O_CLOEXEC);
	assert_true(used >= 0);
	drop(dir);
	make_template(&r, KEY);
	template_drop(dir, used);
	assert_int_equal(check(&r), 0);
	template_drop(dir, -1);
	assert_int_equal(check(&r), 0);
	drop(dir);
	assert_int_equal(check(&r), -ENOENT);
	teardown(&r);
}

/* Who runs out of descriptors learns nothing about a template. */
static void test_no_descriptors(void **state)
{
	char key[SHA256_HEX];
	struct rlimit before, few;
	struct rig r;
	int found = -1;

	setup(&r, state);
	assert_int_equal(template_key(&r.cfg, key, NULL), 0);
	make_template(&r, key);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	for (few.rlim_cur = 0; found < 0; few.rlim_cur++) {
		scoped_free char *dir = NULL;
		struct err e = { 0 };

		assert_true(few.rlim_cur < 1000);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		found = template_find(&r.s, &r.cfg, &dir, &e);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
		if (found < 0)
			assert_int_equal(found, -EMFILE);
		assert_int_equal(faccessat(r.store, key, F_OK, 0), 0);
	}
	teardown(&r);
}

static void test_store_rights(void **state)
{
	struct template_info *all = NULL;
	struct err e = { 0 };
	struct rig r;
	size_t n;

	setup(&r, state);
	assert_int_equal(chmod(r.store_dir, 0770), 0);
	assert_int_equal(template_list(&r.s, &all, &n, &e), -EPERM);
	assert_non_null(strstr(e.msg, "template.dir"));
	assert_int_equal(chmod(r.store_dir, 0700), 0);
	assert_int_equal(template_list(&r.s, &all, &n, &e), 0);
	assert_int_equal(n, 0);
	free(all);
	teardown(&r);
}

static void set_used(const struct rig *r, const char *key, time_t when)
{
	const struct timespec t[2] = { { .tv_sec = when }, { .tv_sec = when } };
	scoped_free char *path = str_fmt("%s/%s/manifest", r->store_dir, key);

	assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

static void test_limit(void **state)
{
	static const char *const keys[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"1111111111111111111111111111111111111111111111111111111111111111",
		"2222222222222222222222222222222222222222222222222222222222222222",
	};
	struct template_info *all = NULL;
	struct err e = { 0 };
	struct rig r;
	size_t n;

	setup(&r, state);
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		make_template(&r, keys[i]);
	set_used(&r, keys[0], 3000);
	set_used(&r, keys[1], 1000);
	set_used(&r, keys[2], 2000);
	r.s.max_size = 2 * MIB + MIB / 2;
	assert_int_equal(template_gc(&r.s, &e), 0);
	assert_int_equal(template_list(&r.s, &all, &n, &e), 0);
	assert_int_equal(n, 2);
	assert_string_equal(all[0].key, keys[0]); /* the last used first */
	assert_string_equal(all[1].key, keys[2]);
	assert_true(all[0].valid);
	free(all);
	teardown(&r);
}

static void test_leftovers_and_lock(void **state)
{
	scoped_free char *tmp = NULL, *lock = NULL;
	scoped_fd fd = -1;
	struct err e = { 0 };
	struct rig r;

	setup(&r, state);
	tmp = str_fmt("%s/" KEY ".tmp.77/share", r.store_dir);
	lock = str_fmt("%s/lock", r.store_dir);
	assert_int_equal(io_mkdirs(tmp, 0700), 0);
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(template_gc(&r.s, &e), -EBUSY); /* somebody makes one: it may be his */
	assert_int_equal(template_make(&r.s, &r.cfg, 1000, false, (struct template_last){ 0 }, &e), -EBUSY);
	assert_int_equal(access(tmp, F_OK), 0);
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(template_gc(&r.s, &e), 0);
	assert_int_equal(access(tmp, F_OK), -1);
	teardown(&r);
}

/* A hypervisor that can't be started leaves nothing. */
static void test_failed_make(void **state)
{
	struct template_info *all = NULL;
	struct dirent *ent;
	struct err e = { 0 };
	struct rig r;
	size_t n = 0;
	DIR *d;

	setup(&r, state);
	assert_int_equal(template_make(&r.s, &r.cfg, 1000, true, (struct template_last){ 0 }, &e), -ENOEXEC);
	assert_int_equal(template_list(&r.s, &all, &n, &e), 0);
	assert_int_equal(n, 0);
	d = opendir(r.store_dir);
	while ((ent = readdir(d)) != NULL)
		assert_true(ent->d_name[0] == '.' || strcmp(ent->d_name, "lock") == 0);
	closedir(d);
	free(all);
	teardown(&r);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, tmpdir_set_up, tmpdir_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_key),
		CASE(test_manifest_text),
		CASE(test_files),
		CASE(test_whole),
		CASE(test_foreign),
		CASE(test_drop_late),
		CASE(test_no_descriptors),
		CASE(test_store_rights),
		CASE(test_limit),
		CASE(test_leftovers_and_lock),
		CASE(test_failed_make),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
