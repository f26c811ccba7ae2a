/* devices.c - see devices.h. Distrusts: what already is in the root's /dev. */
#include "agent/devices.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/str.h"
#include "sys/mnt.h"

static const struct {
	const char *path;
	uint32_t major, minor;
} default_devices[] = {
	{ "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },    { "/dev/full", 1, 7 },
	{ "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 }, { "/dev/tty", 5, 0 },
};

static const struct {
	const char *path, *target;
	bool replace; /* a node there gives way */
} links[] = {
	{ "/dev/fd", "/proc/self/fd", false },       { "/dev/stdin", "/proc/self/fd/0", false },
	{ "/dev/stdout", "/proc/self/fd/1", false }, { "/dev/stderr", "/proc/self/fd/2", false },
	{ "/dev/ptmx", "pts/ptmx", true },
};

/* True if the name is already such a node. */
static bool is_same_node(int dir, const char *name, mode_t type, dev_t dev)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & S_IFMT) == type &&
	       (type == S_IFIFO || st.st_rdev == dev);
}

static int bind_node(int root, const struct msg_device *d)
{
	scoped_fd from = -1, tree = -1, place = -1;
	scoped_free char *real = NULL;
	struct stat st;
	int rc;

	if (!str_starts(d->path, "/dev/"))
		return -EPERM;
	from = open(d->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 || fstat(from, &st) < 0)
		return -errno;
	if ((st.st_mode & S_IFMT) != d->type || st.st_rdev != makedev(d->major, d->minor))
		return -EPERM; /* another device under that name */
	rc = mnt_place(root, d->path, MNT_WANT_FILE, &place, &real);
	if (rc == 0)
		rc = mnt_clone(from, false, &tree);
	return rc < 0 ? rc : mnt_attach(tree, place);
}

static int make_node(int root, const struct msg_device *d)
{
	const char *name = NULL;
	scoped_fd dir = -1;
	dev_t dev = makedev(d->major, d->minor);
	int rc;

	rc = mnt_place_parent(root, d->path, &dir, &name);
	if (rc < 0)
		return rc;
	/* Not the umask's business: mode and owner are set after. */
	if (mknodat(dir, name, (mode_t)(d->type | 0600), dev) < 0) {
		if (errno != EEXIST)
			return -errno;
		return is_same_node(dir, name, (mode_t)d->type, dev) ? 0 : -EEXIST;
	}
	if (fchownat(dir, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return fchmodat(dir, name, (mode_t)(d->mode & 07777), 0) < 0 ? -errno : 0;
}

static int make_link(int root, const char *path, const char *target, bool replace)
{
	const char *name = NULL;
	scoped_fd dir = -1;
	int rc;

	rc = mnt_place_parent(root, path, &dir, &name);
	if (rc < 0)
		return rc;
	if (replace && unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return -errno;
	return symlinkat(target, dir, name) < 0 && errno != EEXIST ? -errno : 0;
}

static int make_one(int root, const struct msg_device *d, bool has_userns)
{
	int rc;

	if (!d->path || d->path[0] != '/' || (d->type != S_IFCHR && d->type != S_IFBLK && d->type != S_IFIFO))
		return -EINVAL;
	if (has_userns && d->type != S_IFIFO)
		return bind_node(root, d);
	rc = make_node(root, d);
	return rc == -EPERM && d->type != S_IFIFO ? bind_node(root, d) : rc;
}

int devices_make(int root, const struct msg_ctr *ctr, bool has_userns, struct err *e)
{
	int rc;

	for (size_t i = 0; i < ctr->devices.n; i++) {
		rc = make_one(root, &ctr->devices.p[i], has_userns);
		if (rc < 0)
			return err_set(e, rc, "linux.devices[%zu] %s: %m", i,
				       ctr->devices.p[i].path ? ctr->devices.p[i].path : "");
	}
	for (size_t i = 0; i < ARRAY_LEN(default_devices); i++) {
		scoped_free char *path = str_fmt("%s", default_devices[i].path);
		struct msg_device d = { .path = path,
					.type = S_IFCHR,
					.major = default_devices[i].major,
					.minor = default_devices[i].minor,
					.mode = 0666 };

		rc = path ? make_one(root, &d, has_userns) : -ENOMEM;
		/* The container's own, if it was given: made above with its mode. */
		if (rc < 0 && rc != -EEXIST)
			return err_set(e, rc, "default device %s: %m", default_devices[i].path);
	}
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		rc = make_link(root, links[i].path, links[i].target, links[i].replace);
		if (rc < 0)
			return err_set(e, rc, "link %s: %m", links[i].path);
	}
	return 0;
}
