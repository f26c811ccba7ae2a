/* layers.c - see layers.h. Distrusts the files: 64 bytes of each are read, at a fixed place.
 * Never: opens anything for writing, or follows a name that came from a guest. */
#include "hyper/layers.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/str.h"
#include "sys/verity.h"

/* erofs_fs.h of Linux: the superblock lies 1024 bytes behind the start. */
#define SUPER_AT  1024
#define UUID_AT   48
#define UUID_LEN  16
#define LAYER_MAX (1ull << 40)

struct seen {
	uint64_t size;
	char uuid[2 * UUID_LEN + 1];
};

static bool is_magic(const uint8_t p[4])
{
	static const uint8_t magic[4] = { 0xe2, 0xe1, 0xf5, 0xe0 };

	return memcmp(p, magic, sizeof magic) == 0;
}

static int look(int fd, const char *path, struct seen *ret, struct err *e)
{
	uint8_t super[UUID_AT + UUID_LEN];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "image %s: %m", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "image %s: not a regular file", path);
	if (st.st_size <= 0 || st.st_size % LAYER_ALIGN || (uint64_t)st.st_size > LAYER_MAX)
		return err_set(e, -EINVAL,
			       "image %s: %lld bytes: not a multiple of 2 MiB (truncate --size=%%2M pads it)",
			       path, (long long)st.st_size);
	n = pread(fd, super, sizeof super, SUPER_AT);
	if (n < 0)
		return err_set(e, -errno, "image %s: %m", path);
	if (n != (ssize_t)sizeof super || !is_magic(super))
		return err_set(e, -EINVAL, "image %s: no EROFS file system", path);
	ret->size = (uint64_t)st.st_size;
	for (size_t i = 0; i < UUID_LEN; i++)
		(void)snprintf(ret->uuid + 2 * i, 3, "%02x", super[UUID_AT + i]); /* fits */
	return 0;
}

static int open_layer(const char *path, int *ret, struct err *e)
{
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return err_set(e, -errno, "image %s: %m", path);
	*ret = fd;
	return 0;
}

static int describe(const char *path, struct arena *a, struct vm_layer *to, struct err *e)
{
	scoped_fd fd = -1;
	struct seen s;
	int r;

	r = open_layer(path, &fd, e);
	if (r == 0)
		r = look(fd, path, &s, e);
	if (r < 0)
		return r;
	*to = (struct vm_layer){ .path = arena_str(a, path), .uuid = arena_str(a, s.uuid), .size = s.size };
	return to->path && to->uuid ? 0 : err_set(e, -ENOMEM, "out of memory");
}

int hv_layers_describe(const char *os, const struct pack_strs *paths, struct arena *a, struct vmcfg *vm,
		       struct err *e)
{
	size_t n = 0;
	int r = 0;

	vm->layers.n = 0;
	if (paths->n + (os != NULL) > LAYERS_MAX)
		return err_set(e, -E2BIG, "an image of %zu layers: a VM has room for %u", paths->n,
			       LAYERS_MAX - (os != NULL));
	vm->layers.p = arena_array(a, LAYERS_MAX, sizeof *vm->layers.p);
	if (!vm->layers.p)
		return err_set(e, -ENOMEM, "out of memory");
	if (os)
		r = describe(os, a, &vm->layers.p[n++], e);
	for (size_t i = 0; i < paths->n && r == 0; i++)
		r = describe(paths->p[i], a, &vm->layers.p[n++], e);
	vm->layers.n = n;
	return r;
}

bool hv_layer_is(const char *path)
{
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	uint8_t magic[4];

	return fd >= 0 && pread(fd, magic, sizeof magic, SUPER_AT) == (ssize_t)sizeof magic &&
	       is_magic(magic);
}

static int open_empty(uint64_t size, int *ret, struct err *e)
{
	scoped_fd fd = memfd_create("layer", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return err_set(e, -errno, "memory in place of an image: %m");
	*ret = take_fd(&fd);
	return 0;
}

static int check_verity(int fd, const struct vm_layer *l, struct err *e)
{
	char got[VERITY_HEX];
	int r = verity_measure(fd, got);

	if (r < 0 && r != -ENODATA)
		return err_set(e, r, "image %s: fs-verity: %m", l->path);
	if (r == 0 && str_eq(got, l->verity))
		return 0;
	return err_set(e, -EBADMSG,
		       "image %s is not the file whose fs-verity digest was noted: it was exchanged, or "
		       "copied (cor-image verify says more; import the image again)",
		       l->path);
}

int hv_layers_open(const struct vmcfg *cfg, int fds[LAYERS_MAX], struct err *e)
{
	int r = 0;

	if (cfg->layers.n > LAYERS_MAX)
		return err_set(e, -E2BIG, "machine: more than %u layers", LAYERS_MAX);
	for (size_t i = 0; i < cfg->layers.n && r == 0; i++) {
		const struct vm_layer *l = &cfg->layers.p[i];
		struct seen s;

		if (cfg->template_make && i >= vmcfg_os_layers(cfg)) {
			r = open_empty(l->size, &fds[i], e);
			continue;
		}
		if (!l->path || !l->uuid)
			return err_set(e, -EINVAL, "machine: a path is missing in the plan");
		r = open_layer(l->path, &fds[i], e);
		if (r == 0)
			r = look(fds[i], l->path, &s, e);
		if (r == 0 && (s.size != l->size || !str_eq(s.uuid, l->uuid)))
			r = err_set(e, -ESTALE, "image %s is another file than a moment ago", l->path);
		if (r == 0 && l->verity)
			r = check_verity(fds[i], l, e);
	}
	return r;
}
