/* layers.c - see layers.h. Never: leaves a file system mounted that is not the one the host named, or a
 * device without DAX (that would copy it into this guest's memory). */
#include "agent/layers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/boot.h"
#include "agent/implied.h"
#include "base/io.h"
#include "base/log.h"
#include "base/num.h"
#include "base/str.h"
#include "sys/implied.h"

#define DIR_LAYERS "/run/cor/layers"        /* N: what is on device N */
#define DIR_UPPER  "/run/cor/upper"         /* a tmpfs, or the disk: what the container writes */
#define DIR_ROOT   BOOT_SHARE_DIR "/rootfs" /* the root's place, where there is no share */
#define WAIT_MS    10000                    /* for a device, on a machine that may be emulated and busy */
#define SUPER_AT   1024                     /* where the superblock is; in it the UUID: */
#define EROFS_AT   48
#define EXT4_AT    104
#define UUID_LEN   16
#define DISK_FIRST "/dev/vda"
/* What is freed goes back to the host at once. Nobody mounts it after this machine: no barriers, no early
 * writing of what was replaced. */
#define DISK_DATA "discard,nobarrier,noauto_da_alloc"

/* Of any of the devices: read, it has waited until the kernel has looked at all of them. */
#define SETTLED "/sys/bus/nd/devices/ndbus0/wait_probe"

unsigned layers_announced(void)
{
	scoped_free char *value = boot_word_value(WORD_LAYERS);
	uint64_t n = 0;

	return value && num_parse_u64_max(value, LAYERS_MAX, &n) == 0 ? (unsigned)n : 0;
}

static char *device(unsigned i)
{
	return str_fmt("/dev/pmem%u", i);
}

/* Until their block devices are there, and the disk if one is announced. */
static int await_devices(unsigned n, struct err *e)
{
	scoped_fd events = boot_open_uevents();
	unsigned disk = boot_has_word(WORD_DISK);
	char drop[4096];

	if (events < 0)
		return err_set(e, events, "device events: %m");
	for (unsigned i = 0; i < n + disk;) {
		scoped_free char *path = i < n ? device(i) : strdup(DISK_FIRST);

		if (!path)
			return err_set(e, -ENOMEM, "out of memory");
		if (access(path, F_OK) == 0) {
			i++;
			continue;
		}
		if (io_wait_readable(events, WAIT_MS) < 0)
			return err_set(e, -ENODEV, "%s: no such device has come up", path);
		/* What the event says is of no interest, only that there was one. */
		if (recv(events, drop, sizeof drop, 0) < 0 && errno != EINTR && errno != ENOBUFS)
			return err_set(e, -errno, "device events: %m");
	}
	return 0;
}

/* Beside the host's two locks, so that a program that tries learns of it. */
static int close_for_writing(int fd)
{
	int on = 1;

	return ioctl(fd, BLKROSET, &on) < 0 ? -errno : 0;
}

/* What the kernel read when it looked for partitions was a template's, perhaps: forgotten. */
static int settle_device(int fd)
{
	return ioctl(fd, BLKFLSBUF, 0) < 0 ? -errno : close_for_writing(fd);
}

static int open_device(unsigned i, bool is_settled, int *ret, struct err *e)
{
	scoped_free char *path = device(i);
	scoped_fd fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	int r = fd < 0 ? -errno : 0;

	if (r == 0 && !is_settled)
		r = settle_device(fd);
	if (r < 0)
		return err_set(e, r, "image %u: %s: %m", i, path ? path : "");
	*ret = take_fd(&fd);
	return 0;
}

/* The mini-OS may be one of them: that one is the same in every clone, and in use. */
static bool is_own_root(int fd)
{
	struct stat dev, root;

	return fstat(fd, &dev) == 0 && stat("/", &root) == 0 && dev.st_rdev == root.st_dev;
}

/* By itself the kernel forgets what it read when nobody has the device open any more; a template may not be
 * saved while it still looks. */
static int settle(unsigned n, struct err *e)
{
	scoped_free char *text = NULL;
	size_t len;
	int r;

	r = io_read_file_at(AT_FDCWD, SETTLED, 64, &text, &len);
	if (r < 0)
		return err_set(e, r, SETTLED ": %m");
	for (unsigned i = 0; i < n && r == 0; i++) {
		scoped_fd fd = -1;

		r = open_device(i, true, &fd, e);
		if (r < 0)
			return r;
		r = is_own_root(fd) ? close_for_writing(fd) : settle_device(fd);
		if (r < 0)
			return err_set(e, r, "image %u: %m", i);
	}
	return r;
}

/* uuid_at: where it is in the superblock. */
static int has_uuid(int fd, off_t uuid_at, const char *want, bool *ret)
{
	char got[2 * UUID_LEN + 1];
	uint8_t uuid[UUID_LEN];

	if (pread(fd, uuid, sizeof uuid, SUPER_AT + uuid_at) != (ssize_t)sizeof uuid)
		return -EIO;
	for (size_t k = 0; k < UUID_LEN; k++)
		(void)snprintf(got + 2 * k, 3, "%02x", uuid[k]); /* fits */
	*ret = str_eq(got, want);
	return 0;
}

static int is_layer(const struct layers_ready *l, unsigned i, const char *want, bool *ret, int *ret_fd,
		    struct err *e)
{
	scoped_fd fd = -1;
	int r = open_device(i, l->is_settled, &fd, e);

	if (r < 0)
		return r;
	r = has_uuid(fd, EROFS_AT, want, ret);
	*ret_fd = take_fd(&fd);
	return r < 0 ? err_set(e, r, "image %u: its superblock can't be read", i) : 0;
}

/* Of the devices the last ones are the images'. The kernel numbers them as it finds them, which is in
 * order, but nobody promises it: looked for from the place where it should be. *ret_fd is open on it. */
static int find_device(const struct layers_ready *l, const struct pack_strs *all, unsigned i, bool *taken,
		       int *ret_fd, unsigned *ret, struct err *e)
{
	for (unsigned k = 0; k < l->n; k++) {
		unsigned at = (l->n - (unsigned)all->n + i + k) % l->n;
		scoped_fd fd = -1;
		bool same = false;
		int r = taken[at] ? 0 : is_layer(l, at, all->p[i], &same, &fd, e);

		if (r < 0)
			return r;
		if (!same)
			continue;
		taken[at] = true;
		*ret = at;
		*ret_fd = take_fd(&fd);
		return 0;
	}
	return err_set(e, -ENODEV, "image %u: no device holds the file system %s", i, all->p[i]);
}

static char *layer_dir(unsigned i)
{
	return str_fmt(DIR_LAYERS "/%u", i);
}

static int mount_device(unsigned i, unsigned at, const char *dir, struct err *e)
{
	scoped_free char *dev = device(at);

	if (!dev)
		return err_set(e, -ENOMEM, "image %u: out of memory", i);
	if (mount(dev, dir, "erofs", MS_RDONLY | MS_NODEV | MS_NOSUID, "dax=always") < 0)
		return err_set(e, -errno,
			       "image %u: its file system can't be mounted by DAX: %m (is it damaged? "
			       "cor-image verify)",
			       i);
	return 0;
}

/* The device that it should be is mounted and then asked: what is asked for has been read by then. */
static bool mount_expected(const struct layers_ready *l, const struct pack_strs *all, unsigned i, bool *taken,
			   const char *dir)
{
	unsigned at = l->n - (unsigned)all->n + i;
	struct err ignored = { 0 }; /* the search that follows says what is wrong */
	scoped_fd fd = -1;

	if (taken[at] || !l->is_settled || mount_device(i, at, dir, &ignored) < 0)
		return false;
	if (is_layer(l, at, all->p[i], &taken[at], &fd, &ignored) == 0 && taken[at])
		return true;
	(void)umount2(dir, MNT_DETACH); /* else the right one goes over it */
	return false;
}

static int mount_layer(const struct layers_ready *l, const struct pack_strs *all, unsigned i, bool *taken,
		       struct err *e)
{
	scoped_free char *dir = layer_dir(i);
	scoped_fd fd = -1; /* so that what was read of it is still there for the mount */
	unsigned at = 0;
	int r = dir ? io_mkdirs(dir, 0700) : -ENOMEM;

	if (r < 0)
		return err_set(e, r, "image %u: %m", i);
	if (mount_expected(l, all, i, taken, dir))
		return 0;
	r = find_device(l, all, i, taken, &fd, &at, e);
	return r == 0 ? mount_device(i, at, dir, e) : r;
}

/* A qemu.params of the host's may have added disks of its own. */
static int find_disk(const char *uuid, char ret[sizeof DISK_FIRST])
{
	bool same = false;

	memcpy(ret, DISK_FIRST, sizeof DISK_FIRST);
	for (char *last = ret + sizeof DISK_FIRST - 2; *last <= 'z'; ++*last) {
		scoped_fd fd = open(ret, O_RDONLY | O_CLOEXEC);
		/* what was read of a template's is forgotten, as in open_device() */
		int r = fd < 0 || ioctl(fd, BLKFLSBUF, 0) < 0 ? -errno : has_uuid(fd, EXT4_AT, uuid, &same);

		if (r < 0)
			return r == -ENOENT ? -ENODEV : r;
		if (same)
			return 0;
	}
	return -ENODEV;
}

/* Room in memory; 0 = half of it. */
static int mount_memory(uint64_t size, unsigned long flags)
{
	scoped_free char *data =
		size ? str_fmt("mode=755,size=%llu", (unsigned long long)size) : str_fmt("mode=755");

	if (!data)
		return -ENOMEM;
	return mount("tmpfs", DIR_UPPER, "tmpfs", flags | MS_NODEV | MS_NOSUID, data) < 0 ? -errno : 0;
}

static int mount_disk(const char *uuid)
{
	char disk[sizeof DISK_FIRST];
	int r = find_disk(uuid, disk);

	if (r < 0)
		return r;
	return mount(disk, DIR_UPPER, "ext4", MS_NODEV | MS_NOSUID, DISK_DATA) < 0 ? -errno : 0;
}

/* uuid: of the disk; NULL = in memory, of this size. */
static int new_upper(const char *uuid, uint64_t size)
{
	int r = io_mkdirs(DIR_UPPER, 0700);

	if (r == 0)
		r = uuid ? mount_disk(uuid) : mount_memory(size, 0);
	if (r == 0 && (mkdir(DIR_UPPER "/upper", 0755) < 0 || mkdir(DIR_UPPER "/work", 0700) < 0))
		r = -errno;
	return r;
}

/* What was made in advance is good for one container. */
static int make_upper(struct layers_ready *l, const struct msg_ctr *c, struct err *e)
{
	bool is_there = l->has_upper && !c->disk;
	int r = 0;

	l->has_upper = false;
	if (!is_there)
		r = new_upper(c->disk, c->upper);
	else if (c->upper)
		r = mount_memory(c->upper, MS_REMOUNT);
	return r < 0 ? err_set(e, r, "the writable layer%s: %m", c->disk ? " on a disk" : "") : 0;
}

/* Places of mounts, and memory of the usual size for what is written, unless that goes to a disk. */
static int make_places(struct layers_ready *l)
{
	int r = io_mkdirs(DIR_ROOT, 0755);

	for (unsigned i = 0; i < l->n && r == 0; i++) {
		scoped_free char *dir = layer_dir(i);

		r = dir ? io_mkdirs(dir, 0700) : -ENOMEM;
	}
	if (r < 0 || boot_has_word(WORD_DISK))
		return r;
	r = new_upper(NULL, 0);
	l->has_upper = r == 0;
	return r;
}

void layers_prepare(struct layers_ready *l)
{
	struct err e = { 0 };
	int r;

	*l = (struct layers_ready){ .n = layers_announced() };
	if (l->n == 0)
		return;
	r = await_devices(l->n, &e);
	if (r == 0)
		r = settle(l->n, &e);
	l->is_settled = r == 0;
	if (r < 0)
		log_error("%s", e.msg);
	r = make_places(l);
	if (r < 0)
		log_error("places for images: %s", strerror(-r));
}

/* A list of a layer's is not the container's. */
static int hide_lists(struct err *e)
{
	return mknod(DIR_UPPER "/upper/" IMPLIED_FILE, S_IFCHR, 0) < 0
		       ? err_set(e, -errno, "the writable layer: %m")
		       : 0;
}

/* overlayfs wants the top layer first. */
static int stack(size_t n, const char *on, struct err *e)
{
	scoped_str data = { 0 };

	str_add(&data, "upperdir=" DIR_UPPER "/upper,workdir=" DIR_UPPER "/work,lowerdir=");
	for (size_t i = n; i-- > 0;)
		str_addf(&data, "%s" DIR_LAYERS "/%zu", i + 1 < n ? ":" : "", i);
	if (str_check(&data) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (mount("overlay", on, "overlay", 0, data.p) < 0)
		return err_set(e, -errno, "the root made of %zu images: %m", n);
	return 0;
}

int layers_mount(struct layers_ready *l, const struct msg_ctr *c, const char *on, struct err *e)
{
	bool taken[LAYERS_MAX] = { false }, any = false;
	scoped_implied implied = { .n = 0 };
	int r;

	if (c->layers.n > l->n)
		return err_set(e, -EINVAL, "%zu images, but this VM has %u devices for them", c->layers.n,
			       l->n);
	r = l->is_settled ? 0 : await_devices(l->n, e);
	for (unsigned i = 0; i < c->layers.n && r == 0; i++)
		r = mount_layer(l, &c->layers, i, taken, e);
	if (r == 0)
		r = make_upper(l, c, e);
	if (r == 0)
		r = implied_read(&implied, DIR_LAYERS, c->layers.n, &any, e);
	if (r == 0 && any)
		r = hide_lists(e);
	if (r == 0)
		r = stack(c->layers.n, on, e);
	return r == 0 && any ? implied_mend(&implied, on, e) : r;
}
