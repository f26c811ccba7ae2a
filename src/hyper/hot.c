/* hot.c - see hot.h. Called by the keeper of a rehearsing VM, while the guest runs.
 *
 * The kernel says in /proc/PID/pagemap which pages of a private mapping are copies of its own. Pages that are
 * holes in the template are not taken: they are the guest's free memory, of which each container uses others.
 * Distrusts: where the process says that it has the memory; it gets only its own hint wrong by that. */
#include "hyper/hot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/str.h"
#include "hyper/kvm.h"
#include "wire/hotpages.h"

#define MAPS_MAX   (1u << 20)
#define CHUNK      512u /* entries of pagemap that are read at a time */
#define PM_THERE   (1ull << 63)
#define PM_SWAPPED (1ull << 62)
#define PM_FILE    (1ull << 61) /* a page of a file, or shared */

/* One line of /proc/PID/maps: a private mapping of the whole file? */
static bool is_memory(const char *line, const struct stat *memory, uint64_t *ret_start)
{
	uint64_t start, end, offset, inode;
	char rights[5];

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %*s %" SCNu64, &start, &end, rights,
		   &offset, &inode) != 5)
		return false;
	*ret_start = start;
	return rights[3] == 'p' && offset == 0 && inode == memory->st_ino &&
	       end - start == (uint64_t)memory->st_size;
}

static int find_memory(int proc, const struct stat *memory, uint64_t *ret_start)
{
	scoped_free char *text = NULL;
	char *rest, *line;
	size_t n;
	int r = io_read_file_at(proc, "maps", MAPS_MAX, &text, &n);

	if (r < 0)
		return r;
	for (rest = text; (line = strsep(&rest, "\n")) != NULL;)
		if (is_memory(line, memory, ret_start))
			return 0;
	return -ENOENT;
}

static bool is_copy(uint64_t entry)
{
	return (entry & (PM_THERE | PM_SWAPPED)) && !(entry & PM_FILE);
}

/* The pages [from, to) of the memory that begins at page `base` of the process. */
static int add_copies(int pagemap, uint64_t base, uint64_t from, uint64_t to, struct hotpages *h)
{
	uint64_t entries[CHUNK];

	while (from < to) {
		size_t want = to - from < CHUNK ? (size_t)(to - from) : CHUNK;
		ssize_t got = pread(pagemap, entries, want * sizeof *entries,
				    (off_t)((base + from) * sizeof *entries));

		if (got < (ssize_t)sizeof *entries)
			return got < 0 ? -errno : -EIO;
		for (size_t i = 0; i < (size_t)got / sizeof *entries; i++)
			if (is_copy(entries[i]) && !hotpages_add(h, (uint32_t)(from + i)))
				return 0; /* what has no room is copied when it is written */
		from += (size_t)got / sizeof *entries;
	}
	return 0;
}

static int collect(int pagemap, uint64_t start, int memory, const struct stat *st, struct hotpages *h)
{
	off_t data = 0, hole;
	int r = 0;

	while (r == 0 && data < st->st_size) {
		data = lseek(memory, data, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		hole = lseek(memory, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		r = add_copies(pagemap, start / HOTPAGES_PAGE, (uint64_t)data / HOTPAGES_PAGE,
			       (uint64_t)hole / HOTPAGES_PAGE, h);
		data = hole;
	}
	return r;
}

static int learn(pid_t vmm, int dir, struct hotpages *h)
{
	scoped_free char *path = str_fmt("/proc/%d", (int)vmm);
	scoped_fd proc = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	scoped_fd pagemap = -1, memory = openat(dir, KVM_MEMORY_FILE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	uint64_t start = 0;
	struct stat st;
	int r;

	if (!path)
		return -ENOMEM;
	if (proc < 0 || memory < 0 || fstat(memory, &st) < 0)
		return -errno;
	r = find_memory(proc, &st, &start);
	if (r < 0)
		return r;
	pagemap = openat(proc, "pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return -errno;
	r = collect(pagemap, start, memory, &st, h);
	if (r == 0)
		hotpages_seal(h, &st);
	return r == 0 ? io_replace_file_at(dir, HOT_FILE, h, hotpages_size(h->n), 0400) : r;
}

int hot_learn(pid_t vmm, const char *dir, struct err *e)
{
	scoped_free struct hotpages *h = calloc(1, sizeof *h);
	scoped_fd at = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = !h ? -ENOMEM : at < 0 ? -errno : learn(vmm, at, h);

	return r < 0 ? err_set(e, r, "pages that clones of %s write: %m", dir) : 0;
}
