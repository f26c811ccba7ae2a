/* fuzz_dev.c - see fuzz_dev.h. Linked to the fuzz targets of devices. */
#include "fuzz_dev.h"

#include <linux/virtio_config.h>

#define STEPS_MAX 48

static const uint32_t lengths[] = {
	16, 1, 4, 8, 10, 12, 17, 20, 32, 64, 512, 513, 1024, 1536, 4096, 65536, 0
};

static void memory_mark(struct fuzz_dev *f, uint64_t at, uint64_t len)
{
	uint64_t off = at - RIG_BASE;

	if (at >= RIG_BASE && off < RIG_RAM)
		memset(f->writable + off, 1, len < RIG_RAM - off ? len : RIG_RAM - off);
}

static void snapshot(struct fuzz_dev *f)
{
	memcpy(f->before, f->rig.ram, RIG_RAM);
}

static void start(struct fuzz_dev *f)
{
	uint64_t wanted = fuzz_uint(f->in, 1) % 4 ? UINT64_MAX : fuzz_uint(f->in, 8);

	memset(f->offered, 0, sizeof f->offered);
	memset(f->room, 0, sizeof f->room);
	memset(f->writable, 0, RIG_RAM);
	f->in_flight = 0;
	f->spoiled = false;
	FUZZ_ASSERT(rig_negotiate(&f->rig, wanted)); /* any subset of what is offered is agreed to */
	rig_start(&f->rig, FUZZ_DEV_RING);
	for (unsigned i = 0; i < f->rig.d->n_queues; i++)
		memory_mark(f, f->rig.q[i].used, 4 + FUZZ_DEV_RING * 8 + 2);
	snapshot(f);
}

static uint64_t pick_addr(struct fuzz_dev *f)
{
	uint64_t kind = fuzz_uint(f->in, 1), room = RIG_BASE + RIG_RAM - f->rig.data;

	if (kind == 0xFE)
		return RIG_ROM;
	if (kind == 0xFF)
		return fuzz_uint(f->in, 8);
	return f->rig.data + kind * (room / 256);
}

static void offer(struct fuzz_dev *f)
{
	unsigned q = (unsigned)fuzz_below(f->in, f->rig.d->n_queues - 1u);
	unsigned n_out = (unsigned)fuzz_below(f->in, 3), n_in = (unsigned)fuzz_below(f->in, 3), head;
	struct vqdrv_seg seg[6];
	uint64_t room = 0;

	n_in += n_out + n_in == 0;
	for (unsigned i = 0; i < n_out + n_in; i++) {
		seg[i] = (struct vqdrv_seg){ pick_addr(f),
					     lengths[fuzz_below(f->in, ARRAY_LEN(lengths) - 1)] };
		if (i >= n_out) {
			memory_mark(f, seg[i].addr, seg[i].len);
			room += seg[i].len;
		}
	}
	if (n_out && seg[0].addr >= f->rig.data && seg[0].addr < RIG_ROM && f->hooks->fill)
		f->hooks->fill(f, q, vqdrv_at(&f->rig.q[q], seg[0].addr),
			       seg[0].len < RIG_ROM - seg[0].addr ? seg[0].len : RIG_ROM - seg[0].addr);
	head = vqdrv_add(&f->rig.q[q], seg, n_out, n_in);
	f->in_flight += n_out + n_in;
	f->spoiled = f->spoiled || f->in_flight > FUZZ_DEV_RING;
	if (fuzz_uint(f->in, 1) == 0xFF) { /* a wrong bit somewhere in the rings */
		f->spoiled = true;
		*(uint8_t *)vqdrv_at(&f->rig.q[q],
				     f->rig.q[q].desc + fuzz_below(f->in, FUZZ_DEV_RING * 16 + 36)) ^=
			(uint8_t)fuzz_uint(f->in, 1);
	}
	f->offered[q][head]++;
	f->room[q][head] = room > f->room[q][head] ? room : f->room[q][head];
	snapshot(f);
}

static void check_used(struct fuzz_dev *f, unsigned q)
{
	uint32_t id, len;

	while (vqdrv_used(&f->rig.q[q], &id, &len)) {
		FUZZ_ASSERT(id < FUZZ_DEV_RING);
		if (f->hooks->holds)
			continue;
		FUZZ_ASSERT(f->offered[q][id] > 0);
		FUZZ_ASSERT(len <= f->room[q][id]);
		FUZZ_ASSERT(len >= f->hooks->len_min && (!f->hooks->len_max || len <= f->hooks->len_max));
		f->offered[q][id]--;
	}
}

static void check_page(const struct fuzz_dev *f, size_t at)
{
	if (memcmp(f->rig.ram + at, f->before + at, GMEM_PAGE) == 0)
		return;
	for (size_t i = at; i < at + GMEM_PAGE; i++)
		FUZZ_ASSERT(f->writable[i] || f->rig.ram[i] == f->before[i]);
}

static void serve(struct fuzz_dev *f)
{
	rig_serve(&f->rig);
	for (size_t at = 0; at < RIG_RAM && !f->spoiled; at += GMEM_PAGE)
		check_page(f, at);
	for (size_t i = 0; i < GMEM_PAGE; i++)
		FUZZ_ASSERT(f->rig.rom[i] == 0);
	for (unsigned q = 0; q < f->rig.d->n_queues && !f->spoiled; q++)
		check_used(f, q);
	f->in_flight = 0;
	FUZZ_ASSERT(f->rig.d->n_logged <= VDEV_LOG_MAX);
	if (f->hooks->check)
		f->hooks->check(f);
	snapshot(f);
}

void fuzz_dev_run(struct fuzz_in *in, struct vdev *d, const struct fuzz_dev_hooks *hooks, void *data)
{
	struct fuzz_dev f = { .in = in, .hooks = hooks, .data = data };
	uint64_t op;

	f.before = calloc(1, RIG_RAM);
	f.writable = calloc(1, RIG_RAM);
	if (!f.before || !f.writable || rig_init(&f.rig, d) < 0)
		abort();
	start(&f);
	for (unsigned i = 0; i < STEPS_MAX && in->left; i++) {
		op = fuzz_uint(in, 1) % 8;
		if (op < 4)
			offer(&f);
		else if (op < 6)
			serve(&f);
		else if (op == 6 && hooks->event)
			hooks->event(&f);
		else if (op == 7)
			start(&f);
	}
	serve(&f);
	rig_fini(&f.rig);
	free(f.before);
	free(f.writable);
}
