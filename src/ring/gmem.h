/* gmem.h - guest memory: the one way from a guest's address to a pointer.
 *
 * Used by everything that faces a guest (VMM devices, vhost-user back ends). The regions are added before
 * the guest runs and never change afterwards, so any thread may look them up without a lock. What is behind
 * the pointers belongs to the guest: it may change between two reads, also by another vCPU. So: copy, check
 * the copy, use the copy. Never: keep a slice longer than one request, or compute an address from one. */
#ifndef RING_GMEM_H
#define RING_GMEM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/scope.h"

/* A guest-physical address. A struct, so that a plain number or a host address does not compile. */
typedef struct {
	uint64_t v;
} gpa_t;

static inline gpa_t gpa(uint64_t v)
{
	return (gpa_t){ v };
}

/* RAM below and above the hole, and one for each pmem slot. */
#define GMEM_REGIONS_MAX 26
#define GMEM_PAGE        4096u

struct gmem_region {
	uint64_t start, len; /* whole pages */
	uint8_t *host;       /* borrowed: mapped as long as the gmem is used */
	bool writable;       /* devices may write it (a read-only pmem file: no) */
};

struct gmem {
	struct gmem_region r[GMEM_REGIONS_MAX];
	unsigned n;
};

enum gmem_access { GMEM_READ, GMEM_WRITE };

/* Adds a region. -EINVAL: empty, not whole pages, past the end of the address space, or overlapping another;
 * -ENOSPC: no room. Before the guest runs only. */
int must_check gmem_add(struct gmem *m, gpa_t start, void *host, uint64_t len, bool writable);

/* The host address of `len` bytes at `at`, or NULL: they must lie inside one region, which must be writable
 * for GMEM_WRITE; len must not be 0. */
void *must_check gmem_slice(const struct gmem *m, gpa_t at, uint64_t len, enum gmem_access access);

/* Copies out of / into guest memory. -EFAULT as above; then nothing was copied. */
int must_check gmem_read(const struct gmem *m, gpa_t at, void *dst, uint64_t len);
int must_check gmem_write(const struct gmem *m, gpa_t at, const void *src, uint64_t len);

#endif
