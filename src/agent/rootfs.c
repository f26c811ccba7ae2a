/* rootfs.c - see rootfs.h. Everything is done on the root's fd before the pivot, while the guest's
 * own /proc and /dev are at hand.
 * Distrusts: every name in the root (see sys/mnt.h). */
#include "agent/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agent/boot.h"
#include "agent/devices.h"
#include "agent/ready.h"
#include "base/str.h"
#include "sys/mnt.h"

#define COPYUP_DEPTH     64
#define CGROUP2_MAGIC    0x63677270
#define ATTR_RDONLY      0x00000001u /* MOUNT_ATTR_RDONLY */
#define FLAG_NOSYMFOLLOW 256ul
/* What a bind can have of its own; the rest belongs to the file system. */
#define BIND_FLAGS                                                                                           \
	(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME |           \
	 MS_STRICTATIME | FLAG_NOSYMFOLLOW)

/* One mount of the list on its way. */
struct place {
	const struct msg_mount *m;
	size_t index;
	int fd;     /* where it goes */
	char *real; /* its path below the root */
};

static void place_fini(struct place *p)
{
	scope_close(&p->fd);
	free(p->real);
}
#define scoped_place __attribute__((cleanup(place_fini))) struct place

static int fail(const struct place *p, int code, struct err *e)
{
	return err_set(e, code, "mounts[%zu]: %s on %s: %m", p->index,
		       p->m->kind == MOUNT_SHARE ? "bind" : (p->m->type ? p->m->type : "mount"), p->m->dest);
}

/* Entries of the share are ours, but their names came in a message. */
static int open_share(const char *share, const char *name, int *ret)
{
	scoped_fd dir = open(share, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd;

	if (dir < 0)
		return -errno;
	if (!name || !*name || strchr(name, '/') || strcmp(name, "..") == 0)
		return -EINVAL;
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

int rootfs_open(struct rootfs *r, struct err *e)
{
	size_t n = r->ctr->mounts.n;
	int rc;

	r->sources = calloc(n + 1, sizeof *r->sources);
	if (!r->sources)
		return err_set(e, -ENOMEM, "mounts: %m");
	rc = open_share(r->share, "rootfs", &r->root);
	if (rc < 0)
		return err_set(e, rc, "root: the share's rootfs: %m");
	for (size_t i = 0; i < n; i++) {
		const struct msg_mount *m = &r->ctr->mounts.p[i];

		r->sources[i] = -1;
		if (m->kind != MOUNT_SHARE)
			continue;
		rc = open_share(r->share, m->source, &r->sources[i]);
		if (rc < 0)
			return err_set(e, rc, "mounts[%zu].source of %s: %m", i, m->dest ? m->dest : "");
	}
	return 0;
}

static int mount_root(struct rootfs *r, struct err *e)
{
	scoped_fd tree = -1;
	int rc;

	/* A parked child's are. */
	if (!r->ready && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_set(e, -errno, "make the mounts private: %m");
	rc = mnt_clone(r->root, true, &tree);
	if (rc == 0)
		rc = mnt_attach(tree, r->root);
	if (rc < 0)
		return err_set(e, rc, "root: mount: %m");
	scope_close(&r->root);
	r->root = take_fd(&tree); /* an attached tree's fd is on its top */
	return 0;
}

/* Nothing may lie over parts of /proc: a program that reads them would believe the container. */
static int check_proc(const struct place *p, struct err *e)
{
	static const char *const allowed[] = {
		"cpuinfo",
		"diskstats",
		"meminfo",
		"stat",
		"swaps",
		"uptime",
		"loadavg",
		"slabinfo",
		"net/dev",
		"sys/kernel/ns_last_pid",
		"sys/crypto/fips_enabled",
	};
	bool is_proc = p->m->kind == MOUNT_FS && str_eq(p->m->type, "proc");

	if (strcmp(p->real, "proc") == 0 && !is_proc)
		return err_set(e, -EPERM,
			       "mounts[%zu]: \"%s\" cannot be mounted because it is not of type proc",
			       p->index, p->m->dest);
	if (!str_starts(p->real, "proc/"))
		return 0;
	for (size_t i = 0; p->m->kind == MOUNT_SHARE && i < ARRAY_LEN(allowed); i++)
		if (strcmp(p->real + strlen("proc/"), allowed[i]) == 0)
			return 0;
	return err_set(e, -EPERM, "mounts[%zu]: \"%s\" cannot be mounted because it is inside /proc",
		       p->index, p->m->dest);
}

static int find_place(struct rootfs *r, struct place *p, struct err *e)
{
	const struct msg_mount *m = p->m;
	bool is_kernel = m->kind == MOUNT_FS && (str_eq(m->type, "proc") || str_eq(m->type, "sysfs"));
	int rc;

	if (!m->dest || m->dest[0] != '/')
		return err_set(e, -EINVAL, "mounts[%zu].destination \"%s\" is no absolute path", p->index,
			       m->dest ? m->dest : "");
	rc = mnt_place(r->root, m->dest, m->is_file ? MNT_WANT_FILE : MNT_WANT_DIR, &p->fd, &p->real);
	if (rc < 0)
		return err_set(e, rc, "mounts[%zu].destination %s: %m", p->index, m->dest);
	if (!*p->real)
		return err_set(e, -EINVAL, "mounts[%zu].destination %s is the root itself", p->index,
			       m->dest);
	if (is_kernel && strcmp(p->real, m->dest + strspn(m->dest, "/")) != 0)
		return err_set(e, -EPERM,
			       "mounts[%zu]: filesystem \"%s\" must be mounted on an ordinary directory, "
			       "%s leads to /%s",
			       p->index, m->type, m->dest, p->real);
	return check_proc(p, e);
}

/* The mount that now covers the place. */
static int reopen(const struct rootfs *r, struct place *p)
{
	int fd, rc;

	rc = mnt_open_plain(r->root, p->real, O_PATH, &fd);
	if (rc < 0)
		return rc;
	scope_close(&p->fd);
	p->fd = fd;
	return 0;
}

/* tmpfs with the content of what it covers. */
static int copy_up(int from, int to, const char *data)
{
	scoped_fd in = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	scoped_fd out = openat(to, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (in < 0 || out < 0 || fstat(in, &st) < 0)
		return -errno;
	if (!(data && strstr(data, "mode=")) && fchmod(out, st.st_mode & 07777) < 0)
		return -errno;
	/* An owner that a user namespace has no number for stays root. */
	if (!(data && strstr(data, "uid=")) && fchown(out, st.st_uid, st.st_gid) < 0 && errno != EINVAL)
		return -errno;
	return mnt_copy_tree(in, out, COPYUP_DEPTH);
}

/* A read-only tmpfs or /dev is made read-only at the end: mounts and devices go below it. */
static bool is_late_readonly(const struct msg_mount *m)
{
	return m->kind == MOUNT_FS && m->flags & MS_RDONLY &&
	       (str_eq(m->type, "tmpfs") || str_eq(m->dest, "/dev"));
}

/* A user namespace that doesn't own the network namespace may not mount sysfs: it sees the guest's. */
static int bind_sysfs(struct place *p)
{
	scoped_fd from = open(BOOT_SYSFS_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC), tree = -1;
	uint64_t set, clear;
	int rc;

	if (from < 0) /* test mode: the host's */
		from = open("/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (from < 0)
		return -errno;
	rc = mnt_clone(from, true, &tree);
	set = mnt_attr_of_flags(p->m->flags, &clear);
	if (rc == 0 && (set || clear))
		rc = mnt_set_attr(tree, set, clear, true);
	return rc < 0 ? rc : mnt_attach(tree, p->fd);
}

/* A new mount on the place, or one that was made in advance just like it. p->fd is then its top. */
static int mount_here(struct rootfs *r, struct place *p, const char *type, const char *source,
		      unsigned long flags, const char *data)
{
	const struct msg_mount *m = p->m;
	bool fits = r->ready && !m->tmpcopyup && (!str_eq(m->dest, "/dev") || ready_dev_fits(r->ctr));
	int tree, rc;

	tree = fits ? ready_take(r->ready, m->dest, type, source, flags, data) : -1;
	if (tree < 0) {
		rc = mnt_fs(type, source, p->fd, flags, data);
		return rc < 0 ? rc : reopen(r, p);
	}
	rc = mnt_attach(tree, p->fd);
	scope_close(&p->fd);
	p->fd = tree; /* an attached tree's fd is on its top */
	return rc;
}

static int mount_fs(struct rootfs *r, struct place *p, struct err *e)
{
	const struct msg_mount *m = p->m;
	unsigned long flags = (unsigned long)m->flags;
	scoped_fd covered = -1;
	int rc;

	if (!m->type)
		return err_set(e, -EINVAL, "mounts[%zu].type is missing", p->index);
	if (flags & MS_REMOUNT) {
		rc = mnt_remount(p->fd, flags, m->data);
		return rc < 0 ? fail(p, rc, e) : 0;
	}
	if (is_late_readonly(m))
		flags &= ~(unsigned long)MS_RDONLY;
	if (m->tmpcopyup)
		covered = dup(p->fd);
	rc = mount_here(r, p, m->type, m->source, flags, m->data);
	if (rc == -EPERM && r->has_userns && str_eq(m->type, "sysfs")) {
		rc = bind_sysfs(p);
		if (rc == 0)
			rc = reopen(r, p);
	}
	if (rc == 0 && m->tmpcopyup)
		rc = covered < 0 ? -EMFILE : copy_up(covered, p->fd, m->data);
	return rc < 0 ? fail(p, rc, e) : 0;
}

static int mount_share(struct rootfs *r, struct place *p, struct err *e)
{
	const struct msg_mount *m = p->m;
	uint64_t set, clear;
	scoped_fd tree = -1;
	int rc;

	set = mnt_attr_of_flags((unsigned long)m->flags & BIND_FLAGS, &clear);
	rc = mnt_clone(r->sources[p->index], m->recursive, &tree);
	if (rc == 0 && (set || clear))
		rc = mnt_set_attr(tree, set, clear, false);
	if (rc == 0)
		rc = mnt_attach(tree, p->fd);
	if (rc == 0)
		rc = reopen(r, p);
	return rc < 0 ? fail(p, rc, e) : 0;
}

static int mount_cgroup(struct rootfs *r, struct place *p, struct err *e)
{
	unsigned long flags = (unsigned long)p->m->flags;
	int rc;

	/* In its own cgroup namespace the mount's top is the container's cgroup; without one it is the
	 * guest's. Where the agent has no cgroups (test mode), there is an empty directory. */
	if (r->has_cgroup)
		rc = mount_here(r, p, "cgroup2", "cgroup", flags, p->m->data);
	else
		rc = mount_here(r, p, "tmpfs", "cgroup", flags | MS_RDONLY, "mode=755");
	return rc < 0 ? fail(p, rc, e) : 0;
}

static int mount_one(struct rootfs *r, size_t index, struct err *e)
{
	static int (*const kinds[MOUNT_KIND_N])(struct rootfs *, struct place *, struct err *) = {
		[MOUNT_FS] = mount_fs,
		[MOUNT_SHARE] = mount_share,
		[MOUNT_CGROUP] = mount_cgroup,
	};
	const struct msg_mount *m = &r->ctr->mounts.p[index];
	scoped_place p = { .m = m, .index = index, .fd = -1 };
	int rc;

	if (m->kind >= MOUNT_KIND_N)
		return err_set(e, -EINVAL, "mounts[%zu]: unknown kind %u", index, m->kind);
	rc = find_place(r, &p, e);
	if (rc < 0)
		return rc;
	rc = kinds[m->kind](r, &p, e);
	if (rc < 0)
		return rc;
	if (m->rec_set || m->rec_clear)
		rc = mnt_set_attr(p.fd, m->rec_set, m->rec_clear, true);
	if (rc == 0 && m->propagation)
		rc = mnt_set_propagation(p.fd, (unsigned long)m->propagation);
	return rc < 0 ? fail(&p, rc, e) : 0;
}

int rootfs_mount(struct rootfs *r, struct err *e)
{
	int rc;

	rc = mount_root(r, e);
	for (size_t i = 0; rc == 0 && i < r->ctr->mounts.n; i++)
		rc = mount_one(r, i, e);
	return rc;
}

int rootfs_devices(struct rootfs *r, struct err *e)
{
	/* A /dev from outside is complete as it is. */
	for (size_t i = 0; i < r->ctr->mounts.n; i++)
		if (r->ctr->mounts.p[i].kind == MOUNT_SHARE && str_eq(r->ctr->mounts.p[i].dest, "/dev"))
			return 0;
	if (r->ready && r->ready->has_dev)
		return 0;
	return devices_make(r->root, r->ctr, r->has_userns, e);
}

static int bind_console(int root, int slave)
{
	scoped_fd place = -1, tree = -1;
	scoped_free char *real = NULL;
	int rc;

	rc = mnt_place(root, "/dev/console", MNT_WANT_FILE, &place, &real);
	if (rc == 0)
		rc = mnt_clone(slave, false, &tree);
	return rc < 0 ? rc : mnt_attach(tree, place);
}

int rootfs_terminal(int root, bool console, int *ret_master, int *ret_slave, struct err *e)
{
	scoped_fd master = -1, slave = -1;
	int rc, unlock = 0;

	rc = mnt_open_plain(root, "dev/pts/ptmx", O_RDWR | O_NOCTTY, &master);
	if (rc < 0)
		return err_set(e, rc,
			       "process.terminal: open /dev/pts/ptmx (is a devpts mounted at /dev/pts?): %m");
	if (!mnt_is_fs(master, DEVPTS_SUPER_MAGIC))
		return err_set(e, -ENODEV, "process.terminal: /dev/pts is no devpts file system");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_set(e, -errno, "process.terminal: unlock: %m");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_set(e, -errno, "process.terminal: open its slave: %m");
	rc = console ? bind_console(root, slave) : 0;
	if (rc < 0)
		return err_set(e, rc, "process.terminal: mount it at /dev/console: %m");
	*ret_master = take_fd(&master);
	*ret_slave = take_fd(&slave);
	return 0;
}

/* An empty directory that is there already hides them all. */
static int mask_dir(struct rootfs *r, int dir)
{
	scoped_fd tree = -1;
	int rc;

	if (r->mask >= 0) {
		rc = mnt_clone(r->mask, false, &tree);
		return rc < 0 ? rc : mnt_attach(tree, dir);
	}
	tree = r->ready ? ready_take(r->ready, "", "tmpfs", "tmpfs", MS_RDONLY, READY_MASK_DATA) : -1;
	if (tree < 0)
		return mnt_fs("tmpfs", "tmpfs", dir, MS_RDONLY, READY_MASK_DATA);
	rc = mnt_attach(tree, dir);
	r->mask = take_fd(&tree); /* an attached tree's fd is on its top */
	return rc;
}

static int mask_path(struct rootfs *r, const char *path)
{
	scoped_fd fd = -1, null = -1, tree = -1;
	struct stat st;
	int rc;

	rc = mnt_open_in(r->root, path, O_PATH, &fd);
	if (rc == -ENOENT || rc == -ENOTDIR)
		return 0;
	if (rc < 0)
		return rc;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return mask_dir(r, fd);
	null = open("/dev/null", O_PATH | O_CLOEXEC); /* the guest's, not the container's */
	if (null < 0)
		return -errno;
	rc = mnt_clone(null, false, &tree);
	return rc < 0 ? rc : mnt_attach(tree, fd);
}

static int protect_path(int root, const char *path)
{
	scoped_fd fd = -1, tree = -1;
	int rc;

	rc = mnt_open_in(root, path, O_PATH, &fd);
	if (rc == -ENOENT || rc == -ENOTDIR)
		return 0;
	if (rc == 0)
		rc = mnt_clone(fd, true, &tree);
	if (rc == 0)
		rc = mnt_set_attr(tree, ATTR_RDONLY, 0, false);
	return rc < 0 ? rc : mnt_attach(tree, fd);
}

static int protect_mounts(struct rootfs *r, struct err *e)
{
	for (size_t i = 0; i < r->ctr->mounts.n; i++) {
		const struct msg_mount *m = &r->ctr->mounts.p[i];
		scoped_fd fd = -1;
		int rc;

		if (!is_late_readonly(m))
			continue;
		rc = mnt_open_in(r->root, m->dest, O_PATH, &fd);
		if (rc == 0)
			rc = mnt_set_attr(fd, ATTR_RDONLY, 0, false);
		if (rc < 0)
			return err_set(e, rc, "mounts[%zu]: make %s read-only: %m", i, m->dest);
	}
	return 0;
}

int rootfs_protect(struct rootfs *r, struct err *e)
{
	const struct msg_ctr *c = r->ctr;
	int rc;

	rc = protect_mounts(r, e);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < c->readonly_paths.n; i++) {
		rc = protect_path(r->root, c->readonly_paths.p[i]);
		if (rc < 0)
			return err_set(e, rc, "linux.readonlyPaths[%zu] %s: %m", i, c->readonly_paths.p[i]);
	}
	for (size_t i = 0; i < c->masked_paths.n; i++) {
		rc = mask_path(r, c->masked_paths.p[i]);
		if (rc < 0)
			return err_set(e, rc, "linux.maskedPaths[%zu] %s: %m", i, c->masked_paths.p[i]);
	}
	rc = c->root_readonly ? mnt_set_attr(r->root, ATTR_RDONLY, 0, false) : 0;
	return rc < 0 ? err_set(e, rc, "root.readonly: %m") : 0;
}

int rootfs_enter(struct rootfs *r, struct err *e)
{
	int rc;

	rc = mnt_pivot(r->root);
	if (rc < 0)
		return err_set(e, rc, "enter the root: pivot_root: %m");
	if (r->ctr->root_propagation &&
	    mount(NULL, "/", NULL, (unsigned long)r->ctr->root_propagation, NULL) < 0)
		return err_set(e, -errno, "linux.rootfsPropagation: %m");
	return 0;
}
