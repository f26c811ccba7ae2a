/* gmem.c - see gmem.h. Trusts: the regions. Distrusts: every address and length. */
#include "ring/gmem.h"

#include <errno.h>
#include <string.h>

int gmem_add(struct gmem *m, gpa_t start, void *host, uint64_t len, bool writable)
{
	if (len == 0 || start.v % GMEM_PAGE != 0 || len % GMEM_PAGE != 0 || !host)
		return -EINVAL;
	if (len - 1 > UINT64_MAX - start.v)
		return -EINVAL;
	for (unsigned i = 0; i < m->n; i++) {
		const struct gmem_region *o = &m->r[i];

		if (start.v <= o->start + (o->len - 1) && o->start <= start.v + (len - 1))
			return -EINVAL;
	}
	if (m->n == GMEM_REGIONS_MAX)
		return -ENOSPC;
	m->r[m->n++] = (struct gmem_region){ start.v, len, (uint8_t *)host, writable };
	return 0;
}

void *gmem_slice(const struct gmem *m, gpa_t at, uint64_t len, enum gmem_access access)
{
	for (unsigned i = 0; i < m->n; i++) {
		const struct gmem_region *r = &m->r[i];
		uint64_t off = at.v - r->start;

		if (at.v < r->start || off >= r->len)
			continue;
		if (len == 0 || len > r->len - off || (access == GMEM_WRITE && !r->writable))
			return NULL;
		return r->host + off;
	}
	return NULL;
}

int gmem_read(const struct gmem *m, gpa_t at, void *dst, uint64_t len)
{
	const void *p = gmem_slice(m, at, len, GMEM_READ);

	if (!p)
		return -EFAULT;
	memcpy(dst, p, len);
	return 0;
}

int gmem_write(const struct gmem *m, gpa_t at, const void *src, uint64_t len)
{
	void *p = gmem_slice(m, at, len, GMEM_WRITE);

	if (!p)
		return -EFAULT;
	memcpy(p, src, len);
	return 0;
}
