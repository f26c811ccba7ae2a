/* vqdrv.c - see vqdrv.h. Called by tests only; trusts them. */
#include "vqdrv.h"

#include <string.h>

void *vqdrv_at(struct vqdrv *v, uint64_t addr)
{
	return v->ram + (addr - v->base);
}

uint64_t vqdrv_init(struct vqdrv *v, uint8_t *ram, uint64_t base, uint64_t at, uint16_t size)
{
	*v = (struct vqdrv){ .ram = ram, .base = base, .size = size, .desc = at };
	v->avail = v->desc + size * 16u;
	v->used = (v->avail + 4 + size * 2u + 2 + 3) & ~3ull;
	at = v->used + 4 + size * 8u + 2;
	memset(vqdrv_at(v, v->desc), 0, at - v->desc);
	return (at + 15) & ~15ull;
}

void vqdrv_desc(struct vqdrv *v, uint16_t i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc d = { .addr = addr, .len = len, .flags = flags, .next = next };

	memcpy(vqdrv_at(v, v->desc + i * sizeof d), &d, sizeof d);
}

uint16_t *vqdrv_avail_flags(struct vqdrv *v)
{
	return vqdrv_at(v, v->avail);
}

uint16_t *vqdrv_avail_idx(struct vqdrv *v)
{
	return vqdrv_at(v, v->avail + 2);
}

uint16_t *vqdrv_used_flags(struct vqdrv *v)
{
	return vqdrv_at(v, v->used);
}

uint16_t *vqdrv_used_event(struct vqdrv *v)
{
	return vqdrv_at(v, v->avail + 4 + 2u * v->size);
}

uint16_t *vqdrv_avail_event(struct vqdrv *v)
{
	return vqdrv_at(v, v->used + 4 + 8u * v->size);
}

void vqdrv_offer(struct vqdrv *v, uint16_t head)
{
	memcpy(vqdrv_at(v, v->avail + 4 + 2u * (v->avail_idx & (v->size - 1u))), &head, sizeof head);
	v->avail_idx++;
	__atomic_store_n(vqdrv_avail_idx(v), v->avail_idx, __ATOMIC_RELEASE);
}

uint16_t vqdrv_add(struct vqdrv *v, const struct vqdrv_seg *seg, unsigned n_out, unsigned n_in)
{
	uint16_t head = v->next_desc, i = head, next;
	unsigned n = n_out + n_in;

	for (unsigned k = 0; k < n; k++) {
		next = (uint16_t)((i + 1) & (v->size - 1));
		vqdrv_desc(v, i, seg[k].addr, seg[k].len,
			   (uint16_t)((k < n_out ? 0 : VRING_DESC_F_WRITE) |
				      (k + 1 < n ? VRING_DESC_F_NEXT : 0)),
			   next);
		i = next;
	}
	v->next_desc = i;
	vqdrv_offer(v, head);
	return head;
}

bool vqdrv_used(struct vqdrv *v, uint32_t *ret_id, uint32_t *ret_len)
{
	uint16_t idx = __atomic_load_n((uint16_t *)vqdrv_at(v, v->used + 2), __ATOMIC_ACQUIRE);
	struct vring_used_elem e;

	if (idx == v->used_seen)
		return false;
	memcpy(&e, vqdrv_at(v, v->used + 4 + 8u * (v->used_seen & (v->size - 1u))), sizeof e);
	v->used_seen++;
	*ret_id = e.id;
	*ret_len = e.len;
	return true;
}
