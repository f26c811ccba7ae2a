/* ready.c - see ready.h. Trusts: the guest's own directories; it runs before any container does. */
#include "agent/ready.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "agent/devices.h"
#include "base/log.h"
#include "base/str.h"
#include "sys/mnt.h"

#define DEV    "/dev" /* where a tmpfs gets device nodes */
#define CGROUP "cgroup2"

/* As Podman, containerd, Docker and `spec` of this and other runtimes ask for them. */
static const struct usual {
	const char *dest; /* NULL = any */
	const char *type, *source;
	unsigned long flags;
	const char *data;
} usual[READY_N] = {
	{ NULL, "proc", "proc", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL },
	{ DEV, "tmpfs", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k" },
	{ NULL, "devpts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5" },
	{ NULL, "tmpfs", "shm", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k" },
	{ NULL, "mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, NULL },
	{ NULL, "sysfs", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, NULL },
	{ NULL, "tmpfs", "tmpfs", MS_RDONLY, READY_MASK_DATA },
	{ NULL, CGROUP, "cgroup", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RELATIME | MS_RDONLY, NULL },
};

/* The default nodes and links, and the directories that others are mounted on. */
static int fill_dev(int stage)
{
	static const char *const dirs[] = { "dev/pts", "dev/shm", "dev/mqueue" };
	const struct msg_ctr none = { 0 };
	struct err e = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (mkdirat(stage, dirs[i], 0755) < 0)
			return -errno;
	return devices_make(stage, &none, false, &e);
}

/* Mounts one on `stage`/dev and takes it off as a tree of its own. */
static int make_one(const struct usual *u, int stage, int *ret)
{
	scoped_fd place = openat(stage, "dev", O_PATH | O_DIRECTORY | O_CLOEXEC), top = -1;
	int r;

	if (place < 0)
		return -errno;
	r = mnt_fs(u->type, u->source, place, u->flags, u->data);
	if (r < 0)
		return r;
	if (u->dest)
		r = fill_dev(stage);
	top = openat(stage, "dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r == 0)
		r = top < 0 ? -errno : mnt_clone(top, false, ret);
	if (r == 0)
		r = mnt_detach(top);
	return r;
}

void ready_make(struct ready *r, const char *stage, bool has_cgroup)
{
	scoped_fd place = open(stage, O_PATH | O_DIRECTORY | O_CLOEXEC), top = -1;
	int code;

	*r = (struct ready){ .has_dev = false };
	for (size_t i = 0; i < READY_N; i++)
		r->tree[i] = -1;
	code = place < 0 ? -errno : mnt_fs("tmpfs", "stage", place, MS_NOSUID, "mode=755");
	if (code == 0) {
		top = open(stage, O_PATH | O_DIRECTORY | O_CLOEXEC);
		code = top < 0 || mkdirat(top, "dev", 0755) < 0 ? -errno : 0;
		for (size_t i = 0; code == 0 && i < READY_N; i++)
			if ((has_cgroup || !str_eq(usual[i].type, CGROUP)) &&
			    make_one(&usual[i], top, &r->tree[i]) < 0)
				log_debug("%s was not mounted in advance", usual[i].type);
		code = mnt_detach(top);
	}
	if (code < 0)
		log_debug("no mounts in advance: %s", strerror(-code));
}

static bool is_same(const char *a, const char *b)
{
	return str_eq(a ? a : "", b ? b : "");
}

int ready_take(struct ready *r, const char *dest, const char *type, const char *source, unsigned long flags,
	       const char *data)
{
	for (size_t i = 0; i < READY_N; i++) {
		const struct usual *u = &usual[i];
		int tree = r->tree[i];

		if (tree < 0 || !str_eq(u->type, type) || !is_same(u->source, source) || u->flags != flags ||
		    !is_same(u->data, data) || (u->dest && !str_eq(u->dest, dest)))
			continue;
		r->tree[i] = -1;
		if (u->dest)
			r->has_dev = true;
		return tree;
	}
	return -1;
}

bool ready_dev_fits(const struct msg_ctr *c)
{
	static const char *const dirs[] = { "/dev/pts", "/dev/shm", "/dev/mqueue" };
	unsigned found = 0;
	bool has_dev = false;

	for (size_t i = 0; i < c->mounts.n; i++) {
		const char *dest = c->mounts.p[i].dest ? c->mounts.p[i].dest : "";
		bool known = strcmp(dest, DEV) == 0;

		if (known && (has_dev || found))
			return false; /* it covers another, or what was mounted below that */
		has_dev |= known;
		for (size_t k = 0; k < ARRAY_LEN(dirs); k++) {
			if (strcmp(dest, dirs[k]) != 0)
				continue;
			known = true;
			found |= 1u << k;
		}
		/* Whatever isn't plainly elsewhere: "/dev/fd", "//dev", "/a/../dev". */
		if (!known && (str_starts(dest, DEV) || strstr(dest, "//") || strstr(dest, "..")))
			return false;
	}
	return found == (1u << ARRAY_LEN(dirs)) - 1 && !c->devices.n && !(c->namespaces & CLONE_NEWUSER);
}
