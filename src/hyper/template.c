/* template.c - see template.h: finding, checking, making and removing templates.
 *
 * A manifest is trusted only as far as it describes the files beside it: sizes exact, the memory file the
 * very one that was made and never written since (inode and time of its last change; hashing hundreds of
 * megabytes at each start would cost more than a boot), the state by its hash. It also names the boot of the
 * host it was made in: a host that was started anew may have lost what was not on the disk yet, and may have
 * another CPU, so no template outlives a boot. */
#include "hyper/template.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/io.h"
#include "base/num.h"
#include "hyper/manifest.h"

#define LOCK_FILE   "lock"
#define FULL_BLOCKS 16 /* free blocks of a file system that is as good as full */
#define TMP_MARK    ".tmp."

int template_open(const struct template_store *s, int *ret, struct err *e)
{
	scoped_fd fd = -1;
	struct stat st;
	int r;

	r = io_mkdirs(s->dir, 0700);
	if (r < 0)
		return err_set(e, r, "template.dir: make %s: %m", s->dir);
	fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -errno, "template.dir %s: %m", s->dir);
	if (st.st_uid != geteuid() || (st.st_mode & 022))
		return err_set(
			e, -EPERM,
			"template.dir %s can be written by others than root, who could change what VMs "
			"run: chown root it, chmod 700 it",
			s->dir);
	if (fstatat(fd, "..", &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_uid != geteuid() || (st.st_mode & 022))
		return err_set(e, -EPERM,
			       "template.dir: the directory above %s can be written by others than "
			       "root: chown root it, chmod 700 it",
			       s->dir);
	*ret = take_fd(&fd);
	return 0;
}

static int take_lock(int store, bool wait, int *ret, struct err *e)
{
	scoped_fd fd = openat(store, LOCK_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return err_set(e, -errno, "template.dir: " LOCK_FILE ": %m");
	do {
		r = flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB));
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_set(e, errno == EWOULDBLOCK ? -EBUSY : -errno,
			       "another template is being made just now");
	*ret = take_fd(&fd);
	return 0;
}

int template_key(const struct vmcfg *cfg, char ret[SHA256_HEX], struct err *e)
{
	const struct hv_ops *ops = hv_ops_of(cfg);
	scoped_str shape = { 0 };
	int r;

	if (!ops)
		return err_set(e, -EINVAL, "hypervisor number %u has no driver", cfg->hypervisor);
	str_addf(&shape, "cor-template %u %u %s\n", MANIFEST_VERSION, PROTO_VERSION, ops->name);
	r = ops->shape(cfg, &shape, e);
	if (r < 0)
		return r;
	sha256_hex(shape.p, shape.len, ret);
	return 0;
}

/* Away at once, then its files. Whoever made it anew meanwhile makes it again at the next need. */
static void drop_at(int store, const char *name)
{
	scoped_free char *gone = str_fmt("%.64s" TMP_MARK "%d.gone", name, (int)getpid());

	if (gone && renameat(store, name, store, gone) == 0)
		name = gone;
	may_fail(io_remove_tree_at(store, name)); /* what stays is removed by the next maker */
}

int template_find(const struct template_store *s, const struct vmcfg *cfg, char **ret, struct err *e)
{
	char key[SHA256_HEX];
	scoped_free char *path = NULL;
	scoped_fd store = -1;
	struct manifest m;
	int r;

	r = template_open(s, &store, e);
	if (r == 0)
		r = template_key(cfg, key, e);
	if (r < 0)
		return r;
	r = manifest_check(store, key, cfg->memory, &m);
	if (r == -ENOENT)
		return r;
	if (r < 0 && r != -ESTALE)
		return err_set(e, r, "check template %.12s in %s: %m", key, s->dir);
	if (r < 0) {
		drop_at(store, key);
		return err_set(e, -ESTALE, "template %.12s in %s does not hold its checks and was removed",
			       key, s->dir);
	}
	manifest_touch(store, key);
	path = str_fmt("%s/%s", s->dir, key);
	if (!path)
		return err_set(e, -ENOMEM, "out of memory");
	*ret = take_ptr(&path);
	return 0;
}

/* Where nothing fits any more the VM dies at its next write to memory, by SIGBUS, and says nothing. */
static void blame_space(const char *dir, struct err *e)
{
	struct statvfs st;

	if (statvfs(dir, &st) == 0 && st.f_bavail < FULL_BLOCKS)
		(void)err_wrap(e, "template.dir: no space is left in the file system of %s", dir);
}

/* Boots a VM with its memory in dir and saves it there. */
static int boot_and_save(const struct vmcfg *cfg, char *dir, int boot_timeout_ms, int rest_ms, struct err *e)
{
	scoped_free char *share = str_fmt("%s/share", dir);
	struct vmcfg maker = *cfg;
	struct hv *hv = NULL;
	int r;

	if (!share)
		return err_set(e, -ENOMEM, "out of memory");
	if (mkdir(share, 0700) < 0)
		return err_set(e, -errno, "mkdir %s: %m", share);
	maker.share = share;
	maker.template_dir = dir;
	maker.template_make = true;
	r = hv_new(&maker, &hv, e);
	if (r == 0)
		r = hv_start(hv, &maker, e);
	if (r == 0)
		r = hv->ops->save(hv, dir, boot_timeout_ms, rest_ms, e);
	if (r < 0 && hv && hv->pid > 0) {
		scoped_str why = { 0 };
		char words[512];
		ssize_t n = hv->log_fd >= 0 ? read(hv->log_fd, words, sizeof words) : 0;

		str_add_escaped(&why, words, n > 0 ? (size_t)n : 0);
		if (n > 0 && str_check(&why) == 0)
			(void)err_wrap(e, "%s", why.p);
	}
	hv_free(hv);
	if (r < 0)
		blame_space(dir, e);
	(void)rmdir(share); /* nobody wrote to it; if somebody did, the check of the files below fails */
	return r;
}

/* Into tmp, and then as a whole to its name. */
static int build(const struct template_store *s, int store, const char *key, const struct vmcfg *cfg,
		 int boot_timeout_ms, struct template_last last, struct err *e)
{
	struct vmcfg clone = *cfg;
	scoped_free char *tmp = str_fmt("%s" TMP_MARK "%d", key, (int)getpid());
	scoped_free char *dir = tmp ? str_fmt("%s/%s", s->dir, tmp) : NULL;
	struct manifest m;
	int r;

	if (!dir)
		return err_set(e, -ENOMEM, "out of memory");
	if (mkdirat(store, tmp, 0700) < 0)
		return err_set(e, -errno, "mkdir %s: %m", dir);
	r = boot_and_save(cfg, dir, boot_timeout_ms, s->rest_ms, e);
	if (r == 0) {
		r = manifest_write(store, tmp, key, cfg, &m);
		if (r < 0)
			(void)err_set(e, r, "template %s: %m", dir);
	}
	clone.template_dir = dir;
	if (r == 0 && last.fn)
		last.fn(&clone, last.arg);
	if (r == 0 && renameat(store, tmp, store, key) < 0)
		r = err_set(e, -errno, "rename %s: %m", dir);
	if (r < 0)
		may_fail(io_remove_tree_at(store, tmp)); /* the next maker removes what stays */
	return r;
}

/* Everything in the store but templates, and templates that fail their checks. Under the lock. */
static int clean(const struct template_store *s, int store, struct err *e)
{
	scoped_dir d = NULL;
	struct dirent *ent;
	struct manifest m;
	int r = io_open_dir_at(store, ".", &d);

	if (r < 0)
		return err_set(e, r, "template.dir %s: %m", s->dir);
	while ((ent = readdir(d)) != NULL) {
		if (ent->d_name[0] == '.' || str_eq(ent->d_name, LOCK_FILE))
			continue;
		if (strstr(ent->d_name, TMP_MARK))
			may_fail(io_remove_tree_at(store, ent->d_name)); /* tried again next time */
		else if (manifest_is_key(ent->d_name) && manifest_check(store, ent->d_name, 0, &m) == -ESTALE)
			drop_at(store, ent->d_name);
	}
	return 0;
}

static int by_use(const void *a, const void *b)
{
	const struct template_info *x = a, *y = b;

	return x->used < y->used ? 1 : x->used > y->used ? -1 : strcmp(x->key, y->key);
}

static void describe(int store, const char *key, struct template_info *to)
{
	struct manifest m;

	*to = (struct template_info){ 0 };
	memcpy(to->key, key, SHA256_HEX); /* manifest_is_key() */
	to->valid = manifest_check(store, key, 0, &m) == 0;
	to->disk = manifest_disk(store, key);
	to->used = manifest_used(store, key);
	if (!to->valid)
		return;
	to->memory = m.v[MANIFEST_MEMORY];
	to->vcpus = (uint32_t)m.v[MANIFEST_VCPUS];
	to->kvm = m.v[MANIFEST_KVM] != 0;
	to->made = (int64_t)m.v[MANIFEST_MADE];
}

int template_list(const struct template_store *s, struct template_info **ret, size_t *ret_n, struct err *e)
{
	scoped_free struct template_info *all = NULL;
	scoped_fd store = -1;
	scoped_dir d = NULL;
	struct dirent *ent;
	size_t n = 0;
	int r;

	r = template_open(s, &store, e);
	if (r < 0)
		return r;
	d = opendir(s->dir);
	if (!d)
		return err_set(e, -errno, "template.dir %s: %m", s->dir);
	while ((ent = readdir(d)) != NULL) {
		struct template_info *more;

		if (!manifest_is_key(ent->d_name))
			continue;
		more = reallocarray(all, n + 1, sizeof *all);
		if (!more)
			return err_set(e, -ENOMEM, "out of memory");
		all = more;
		describe(store, ent->d_name, &all[n++]);
	}
	if (n)
		qsort(all, n, sizeof *all, by_use);
	*ret = take_ptr(&all);
	*ret_n = n;
	return 0;
}

/* The longest unused go until the rest fits; `keep` (may be NULL) stays. Under the lock. */
static int shrink(const struct template_store *s, int store, const char *keep, struct err *e)
{
	scoped_free struct template_info *all = NULL;
	uint64_t sum = 0;
	size_t n = 0;
	int r;

	r = s->max_size ? template_list(s, &all, &n, e) : 0;
	for (size_t i = 0; i < n; i++) {
		sum += all[i].disk;
		if (sum > s->max_size && !str_eq(all[i].key, keep)) {
			sum -= all[i].disk;
			drop_at(store, all[i].key);
		}
	}
	return r;
}

int template_make(const struct template_store *s, const struct vmcfg *cfg, int boot_timeout_ms, bool wait,
		  struct template_last last, struct err *e)
{
	scoped_fd store = -1, lock = -1;
	char key[SHA256_HEX];
	struct manifest m;
	int r;

	r = template_open(s, &store, e);
	if (r == 0)
		r = template_key(cfg, key, e);
	if (r == 0)
		r = take_lock(store, wait, &lock, e);
	if (r == 0)
		r = clean(s, store, e);
	if (r < 0)
		return r;
	if (manifest_check(store, key, cfg->memory, &m) == 0)
		return 0;
	r = build(s, store, key, cfg, boot_timeout_ms, last, e);
	return r < 0 ? r : shrink(s, store, key, e);
}

void template_drop(const char *dir, int used)
{
	const char *name = strrchr(dir, '/');
	scoped_free char *store = name ? str_fmt("%.*s", (int)(name - dir), dir) : NULL;
	scoped_fd fd = store ? open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	struct stat now, then;

	if (fd >= 0 && manifest_is_key(name + 1) && used >= 0 && fstat(used, &then) == 0 &&
	    fstatat(fd, name + 1, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_dev == then.st_dev &&
	    now.st_ino == then.st_ino)
		drop_at(fd, name + 1);
}

int template_remove(const struct template_store *s, const char *key, struct err *e)
{
	scoped_fd store = -1;
	int r;

	r = template_open(s, &store, e);
	if (r < 0)
		return r;
	if (!manifest_is_key(key) || faccessat(store, key, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return err_set(e, -ENOENT, "there is no template %s in %s", key, s->dir);
	drop_at(store, key);
	return 0;
}

int template_gc(const struct template_store *s, struct err *e)
{
	scoped_fd store = -1, lock = -1;
	int r;

	r = template_open(s, &store, e);
	if (r == 0)
		r = take_lock(store, false, &lock, e);
	if (r == 0)
		r = clean(s, store, e);
	return r == 0 ? shrink(s, store, NULL, e) : r;
}
