/* manifest.c - see manifest.h. Trusts no file of a template; nothing is followed out of its directory.
 * Never: reads the memory file, which is as large as a VM, or the state. */
#include "hyper/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/io.h"
#include "base/num.h"
#include "base/str.h"
#include "hyper/hot.h"

#define TEXT_MAX 1024
#define BOOT_ID  "/proc/sys/kernel/random/boot_id"
#define NS_PER_S 1000000000u

/* What a clone is made of. Whoever can write them can write the manifest, too: a hash would only tell what
 * the time of change tells, and would be most of what a check costs. */
static const struct part {
	const char *name;
	enum manifest_number size, inode, changed;
} parts[] = {
	{ "memory", MANIFEST_MEMORY, MANIFEST_MEMORY_INODE, MANIFEST_MEMORY_CHANGED_NS },
	{ "state", MANIFEST_STATE, MANIFEST_STATE_INODE, MANIFEST_STATE_CHANGED_NS },
};

static const char *const numbers[MANIFEST_N] = {
	[MANIFEST_MEMORY] = "memory",
	[MANIFEST_MEMORY_INODE] = "memory-inode",
	[MANIFEST_MEMORY_CHANGED_NS] = "memory-changed",
	[MANIFEST_STATE] = "state",
	[MANIFEST_STATE_INODE] = "state-inode",
	[MANIFEST_STATE_CHANGED_NS] = "state-changed",
	[MANIFEST_VCPUS] = "vcpus",
	[MANIFEST_KVM] = "kvm",
	[MANIFEST_MADE] = "made",
};

bool manifest_is_key(const char *name)
{
	return strlen(name) == SHA256_HEX - 1 && strspn(name, "0123456789abcdef") == SHA256_HEX - 1;
}

/* The value of the next line if it begins with "name "; else NULL. */
static char *next_value(char **rest, const char *name)
{
	char *line = *rest, *end = line ? strchr(line, '\n') : NULL;
	size_t n = strlen(name);

	if (!end || strncmp(line, name, n) != 0 || line[n] != ' ')
		return NULL;
	*end = '\0';
	*rest = end + 1;
	return line + n + 1;
}

static int copy_value(char **rest, const char *name, char *to, size_t cap)
{
	char *v = next_value(rest, name);

	if (!v || strlen(v) >= cap)
		return -EBADMSG;
	memcpy(to, v, strlen(v) + 1);
	return 0;
}

int manifest_parse(char *text, size_t n, struct manifest *ret)
{
	uint64_t version;
	char *rest = text, *v;
	int r;

	if (n >= TEXT_MAX || memchr(text, '\0', n))
		return -EBADMSG;
	v = next_value(&rest, "cor-template");
	if (!v || num_parse_u64(v, &version) < 0 || version != MANIFEST_VERSION)
		return -EBADMSG;
	r = copy_value(&rest, "key", ret->key, sizeof ret->key);
	if (r == 0)
		r = copy_value(&rest, "boot", ret->boot, sizeof ret->boot);
	for (size_t i = 0; i < MANIFEST_N && r == 0; i++) {
		v = next_value(&rest, numbers[i]);
		if (!v || num_parse_u64(v, &ret->v[i]) < 0)
			r = -EBADMSG;
	}
	return r == 0 && *rest ? -EBADMSG : r;
}

static int read_boot(char to[MANIFEST_BOOT])
{
	scoped_free char *text = NULL;
	size_t n;
	int r = io_read_file_at(AT_FDCWD, BOOT_ID, MANIFEST_BOOT, &text, &n);

	if (r < 0)
		return r;
	n = strcspn(text, "\n");
	if (n >= MANIFEST_BOOT)
		return -EBADMSG;
	memcpy(to, text, n);
	to[n] = '\0';
	return 0;
}

/* What `r` says about the template: a process without descriptors or memory learns nothing about it. */
static int verdict(int r)
{
	return r == -EMFILE || r == -ENFILE || r == -ENOMEM ? r : -ESTALE;
}

/* A plain file of ours that others can't change. */
static int check_plain(const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 0222) && st->st_nlink == 1
		       ? 0
		       : -ESTALE;
}

static uint64_t changed_ns(const struct stat *st)
{
	return (uint64_t)st->st_mtim.tv_sec * NS_PER_S + (uint64_t)st->st_mtim.tv_nsec;
}

static int check_part(int dir, const struct part *p, const struct manifest *m)
{
	struct stat st;

	if (fstatat(dir, p->name, &st, AT_SYMLINK_NOFOLLOW) < 0 || check_plain(&st) < 0)
		return -ESTALE;
	return (uint64_t)st.st_size == m->v[p->size] && st.st_ino == m->v[p->inode] &&
			       changed_ns(&st) == m->v[p->changed]
		       ? 0
		       : -ESTALE;
}

static int open_dir(int store, const char *key)
{
	int fd = openat(store, key, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int read_manifest(int dir, struct manifest *ret)
{
	scoped_fd fd = openat(dir, MANIFEST_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	scoped_free char *text = NULL;
	struct stat st;
	size_t n;
	int r;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
		return -ESTALE;
	r = io_read_all(fd, TEXT_MAX, &text, &n);
	return r < 0 ? r : manifest_parse(text, n, ret);
}

int manifest_check(int store, const char *key, uint64_t memory, struct manifest *ret)
{
	scoped_fd dir = open_dir(store, key);
	char boot[MANIFEST_BOOT];
	struct stat st;
	int r;

	if (dir < 0)
		return dir == -ENOENT ? -ENOENT : verdict(dir);
	if (fstat(dir, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 077))
		return -ESTALE;
	r = read_boot(boot);
	if (r == 0)
		r = read_manifest(dir, ret);
	if (r == 0 && (strcmp(ret->key, key) != 0 || strcmp(ret->boot, boot) != 0 ||
		       (memory && ret->v[MANIFEST_MEMORY] != memory)))
		r = -ESTALE;
	for (size_t i = 0; i < ARRAY_LEN(parts) && r == 0; i++)
		r = check_part(dir, &parts[i], ret);
	return r < 0 ? verdict(r) : 0;
}

/* Makes a file of the template read-only, and describes it. */
static int seal(int dir, const struct part *p, struct manifest *m)
{
	scoped_fd fd = openat(dir, p->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fchmod(fd, 0400) < 0)
		return -errno;
	/* Writes through a mapping set the time late: now it is set for good. */
	if (futimens(fd, NULL) < 0 || fstat(fd, &st) < 0)
		return -errno;
	m->v[p->size] = (uint64_t)st.st_size;
	m->v[p->inode] = st.st_ino;
	m->v[p->changed] = changed_ns(&st);
	return check_plain(&st);
}

static int write_text(int dir, const struct manifest *m)
{
	scoped_str s = { 0 };
	int r;

	str_addf(&s, "cor-template %u\nkey %s\nboot %s\n", MANIFEST_VERSION, m->key, m->boot);
	for (size_t i = 0; i < MANIFEST_N; i++)
		str_addf(&s, "%s %llu\n", numbers[i], (unsigned long long)m->v[i]);
	r = str_check(&s);
	return r < 0 ? r : io_replace_file_at(dir, MANIFEST_FILE, s.p, s.len, 0600);
}

int manifest_write(int store, const char *dir, const char *key, const struct vmcfg *cfg, struct manifest *ret)
{
	scoped_fd at = open_dir(store, dir);
	int r = 0;

	if (at < 0)
		return at;
	*ret = (struct manifest){ 0 };
	memcpy(ret->key, key, sizeof ret->key);
	for (size_t i = 0; i < ARRAY_LEN(parts) && r == 0; i++)
		r = seal(at, &parts[i], ret);
	if (r < 0)
		return r;
	if (ret->v[MANIFEST_MEMORY] != cfg->memory)
		return -EBADMSG;
	ret->v[MANIFEST_VCPUS] = cfg->vcpus;
	ret->v[MANIFEST_KVM] = cfg->kvm;
	ret->v[MANIFEST_MADE] = (uint64_t)time(NULL);
	r = read_boot(ret->boot);
	return r == 0 ? write_text(at, ret) : r;
}

void manifest_touch(int store, const char *key)
{
	scoped_fd dir = open_dir(store, key);

	if (dir >= 0)
		(void)utimensat(dir, MANIFEST_FILE, NULL,
				AT_SYMLINK_NOFOLLOW); /* the order of use is a hint */
}

int64_t manifest_used(int store, const char *key)
{
	scoped_fd dir = open_dir(store, key);
	struct stat st;

	if (dir < 0 || fstatat(dir, MANIFEST_FILE, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	return st.st_mtim.tv_sec;
}

uint64_t manifest_disk(int store, const char *key)
{
	static const char *const files[] = { "memory", "state", MANIFEST_FILE, HOT_FILE };
	scoped_fd dir = open_dir(store, key);
	uint64_t sum = 0;
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(files) && dir >= 0; i++)
		if (fstatat(dir, files[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			sum += (uint64_t)st.st_blocks * 512;
	return sum;
}
