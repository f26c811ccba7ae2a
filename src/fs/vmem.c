/* vmem.c - the memory that a VMM shares: told by a message, mapped from its descriptors.
 *
 * Distrusts: every number of the message, and what the descriptors are. A region is checked against its file
 * as it is now; the file may be cut later (fs/vhost.h). Never: maps a device's file, or more than told but
 * for whole pages of the file's own size. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/num.h"
#include "fs/vpriv.h"

#define PAGE_MAX (1ull << 30) /* of hugetlbfs */

/* Huge pages can be mapped, and unmapped, whole only. */
static uint64_t page_of(const struct stat *st)
{
	uint64_t page = (uint64_t)st->st_blksize;

	if (page < GMEM_PAGE || page > PAGE_MAX || (page & (page - 1)) != 0)
		page = GMEM_PAGE;
	return page;
}

static int map_region(struct vmem *m, const struct vhu_region *r, int fd, struct err *e)
{
	unsigned i = m->n;
	uint64_t end = 0, begin, page, len;
	struct stat st;
	uint8_t *p;

	if (num_add(r->off, r->len, &end) < 0 || r->len == 0 || r->len - 1 > UINT64_MAX - r->user)
		return err_set(e, -EPROTO, "region %u: 0x%llx bytes at 0x%llx of its file", i,
			       (unsigned long long)r->len, (unsigned long long)r->off);
	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "region %u: %m", i);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EPROTO, "region %u: its descriptor is no file of memory", i);
	if (end > (uint64_t)st.st_size)
		return err_set(e, -EPROTO, "region %u: it ends at 0x%llx, its file at 0x%llx", i,
			       (unsigned long long)end, (unsigned long long)st.st_size);
	page = page_of(&st);
	begin = r->off & ~(page - 1);
	len = (end - begin + page - 1) & ~(page - 1);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)begin);
	if (p == MAP_FAILED)
		return err_set(e, -errno, "region %u: its file can't be mapped: %m", i);
	m->r[i].map = p;
	m->r[i].map_len = len;
	m->r[i].user = r->user;
	m->r[i].start = r->start;
	m->r[i].len = r->len;
	m->n++;
	if (gmem_add(&m->gmem, gpa(r->start), p + (r->off - begin), r->len, true) < 0)
		return err_set(e, -EPROTO, "region %u: it is not whole pages, or overlaps another", i);
	return 0;
}

int vmem_map(struct vmem *m, const struct vhu_mem *told, const int *fds, size_t n_fds, struct err *e)
{
	uint64_t sum = 0;
	int r = 0;

	*m = (struct vmem){ 0 };
	if (told->n == 0 || told->n > VHU_MEM_MAX || n_fds != told->n)
		return err_set(e, -EPROTO, "%u regions with %zu descriptors: 1 to %u of each", told->n, n_fds,
			       VHU_MEM_MAX);
	for (unsigned i = 0; i < told->n && r == 0; i++) {
		if (num_add(sum, told->r[i].len, &sum) < 0 || sum > VHS_MEMORY_MAX)
			r = err_set(e, -EPROTO, "region %u: more than %llu GiB in all", i,
				    VHS_MEMORY_MAX >> 30);
		else
			r = map_region(m, &told->r[i], fds[i], e);
	}
	if (r < 0)
		vmem_unmap(m);
	return r;
}

void vmem_unmap(struct vmem *m)
{
	for (unsigned i = 0; i < m->n; i++)
		(void)munmap(m->r[i].map, m->r[i].map_len);
	*m = (struct vmem){ 0 };
}

int vmem_gpa(const struct vmem *m, uint64_t user, uint64_t *ret)
{
	for (unsigned i = 0; i < m->n; i++) {
		if (user < m->r[i].user || user - m->r[i].user >= m->r[i].len)
			continue;
		*ret = m->r[i].start + (user - m->r[i].user);
		return 0;
	}
	return -EFAULT;
}
