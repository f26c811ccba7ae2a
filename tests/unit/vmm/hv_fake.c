/* hv_fake.c - see hv_fake.h. Called by tests; trusts them. */
#include "hv_fake.h"

#include <string.h>

static struct hv_fake *fake_of(struct hv *h)
{
	return container_of(h, struct hv_fake, hv);
}

static int fake_mem_add(struct hv *h, gpa_t start, void *host, uint64_t len, bool writable, struct err *e)
{
	struct hv_fake *f = fake_of(h);

	if (f->fail_mem)
		return err_set(e, f->fail_mem, "fake: no memory");
	f->mem[f->n_mem++] = (struct gmem_region){ start.v, len, host, writable };
	return 0;
}

static int fake_ioeventfd(struct hv *h, gpa_t at, int fd, struct err *e)
{
	struct hv_fake *f = fake_of(h);

	(void)e;
	f->events[f->n_events].at = at.v;
	f->events[f->n_events++].fd = fd;
	return 0;
}

static int fake_msi(struct hv *h, uint64_t addr, uint32_t data)
{
	struct hv_fake *f = fake_of(h);

	if (f->n_msis < FAKE_MSIS_MAX) {
		f->msis[f->n_msis].addr = addr;
		f->msis[f->n_msis].data = data;
	}
	f->n_msis++;
	return 0;
}

static int fake_irqfd(struct hv *h, uint32_t gsi, int fd, struct err *e)
{
	(void)h;
	(void)gsi;
	(void)fd;
	(void)e;
	return 0;
}

static int fake_msi_route(struct hv *h, uint32_t gsi, uint64_t addr, uint32_t data)
{
	(void)gsi;
	return fake_msi(h, addr, data);
}

static int fake_vcpu_add(struct hv *h, uint32_t id, uint32_t n, struct err *e)
{
	(void)id;
	(void)n;
	(void)e;
	fake_of(h)->n_vcpus++;
	return 0;
}

/* Until somebody wants something. */
static void wait_kick(struct hv_fake *f, uint32_t id)
{
	while (!__atomic_exchange_n(&f->kicked[id], 0, __ATOMIC_SEQ_CST))
		(void)usleep(100);
}

static int fake_vcpu_run(struct hv *h, uint32_t id, bool finish, struct hv_exit *ret)
{
	struct hv_fake *f = fake_of(h);
	struct fake_exit *x;

	*ret = (struct hv_exit){ .kind = HV_EXIT_INTR, .count = 1 };
	if (finish) {
		f->n_finished++;
		return 0;
	}
	if (id != 0 || f->at == f->n_script) {
		wait_kick(f, id);
		return 0;
	}
	x = &f->script[f->at++];
	x->got = x->value;
	ret->kind = x->kind;
	ret->addr = x->addr;
	ret->size = x->size;
	ret->write = x->write;
	ret->data = (uint8_t *)&x->got;
	ret->reason = "scripted";
	return 0;
}

static int fake_vcpu_get(struct hv *h, uint32_t id, struct hv_cpu *ret, bool boot, struct err *e)
{
	(void)boot;
	(void)e;
	*ret = fake_of(h)->cpu;
	ret->regs.r15 = id;
	return 0;
}

static int fake_vcpu_set(struct hv *h, uint32_t id, const struct hv_cpu *c, bool boot, struct err *e)
{
	(void)boot;
	(void)e;
	if (id == 0)
		fake_of(h)->cpu = *c;
	return 0;
}

static void fake_vcpu_kick(struct hv *h, uint32_t id, int tid)
{
	(void)tid;
	__atomic_store_n(&fake_of(h)->kicked[id], 1, __ATOMIC_SEQ_CST);
}

static void fake_vcpu_stood_still(struct hv *h, uint32_t id)
{
	(void)id;
	(void)__atomic_add_fetch(&fake_of(h)->n_stood_still, 1, __ATOMIC_SEQ_CST);
}

static int fake_clock_get(struct hv *h, uint64_t *ret_ns, struct err *e)
{
	(void)e;
	*ret_ns = fake_of(h)->clock_ns;
	return 0;
}

static int fake_clock_set(struct hv *h, uint64_t ns, struct err *e)
{
	(void)e;
	fake_of(h)->clock_ns = ns;
	return 0;
}

static void fake_fini(struct hv *h)
{
	fake_of(h)->closed = true;
}

static const struct hv_ops ops = {
	.name = "fake",
	.mem_add = fake_mem_add,
	.ioeventfd = fake_ioeventfd,
	.msi = fake_msi,
	.irqfd = fake_irqfd,
	.msi_route = fake_msi_route,
	.vcpu_add = fake_vcpu_add,
	.vcpu_run = fake_vcpu_run,
	.vcpu_get = fake_vcpu_get,
	.vcpu_set = fake_vcpu_set,
	.vcpu_kick = fake_vcpu_kick,
	.vcpu_stood_still = fake_vcpu_stood_still,
	.clock_get = fake_clock_get,
	.clock_set = fake_clock_set,
	.fini = fake_fini,
};

void hv_fake_init(struct hv_fake *f)
{
	*f = (struct hv_fake){ .hv = { .ops = &ops } };
}
