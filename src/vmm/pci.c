/* pci.c - see pci.h. Called by vCPU threads. Distrusts: addresses, sizes and values of the guest. */
#include "vmm/pci.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define ADDRESS_ENABLE (1u << 31)
#define PORT_DATA      4u /* 0xCFC from 0xCF8 */

static void lock(struct pci_bus *b)
{
	(void)pthread_mutex_lock(&b->lock); /* can't fail for a plain one */
}

static void unlock(struct pci_bus *b)
{
	(void)pthread_mutex_unlock(&b->lock);
}

static void put16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof v);
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof v);
}

void pci_header(struct pci_fn *f, const struct pci_ids *ids)
{
	put16(f->config + PCI_VENDOR_ID, ids->vendor);
	put16(f->config + PCI_DEVICE_ID, ids->device);
	put32(f->config + PCI_CLASS_REVISION, ids->class_rev);
	put16(f->config + PCI_SUBSYSTEM_VENDOR_ID, ids->sub_vendor);
	put16(f->config + PCI_SUBSYSTEM_ID, ids->sub_device);
}

void pci_cap(struct pci_fn *f, uint8_t at, uint8_t id)
{
	f->config[at] = id;
	f->config[at + 1] = f->config[PCI_CAPABILITY_LIST];
	f->config[PCI_CAPABILITY_LIST] = at;
	f->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
}

void pci_init(struct pci_bus *b)
{
	/* Any host bridge will do; this is the one kernels have a name for. */
	static const struct pci_ids ids = { .vendor = 0x8086, .device = 0x0D57, .class_rev = 0x060000u << 8 };

	*b = (struct pci_bus){ .slots = { &b->bridge } };
	(void)pthread_mutex_init(&b->lock, NULL); /* can't fail for a plain one */
	pci_header(&b->bridge, &ids);
}

void pci_fini(struct pci_bus *b)
{
	(void)pthread_mutex_destroy(&b->lock);
}

int pci_add(struct pci_bus *b, struct pci_fn *f)
{
	for (uint8_t i = 1; i < LAYOUT_PCI_SLOTS; i++) {
		if (b->slots[i])
			continue;
		b->slots[i] = f;
		f->slot = i;
		f->has_bar = true;
		f->command_bits = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;
		put32(f->config + PCI_BASE_ADDRESS_0, (uint32_t)pci_bar(f));
		put16(f->config + PCI_COMMAND, PCI_COMMAND_MEMORY);
		return 0;
	}
	return -ENOSPC;
}

/* Bytes of a little-endian register that a write of n bytes at `off` changes. */
static uint32_t merge(const uint8_t *config, uint32_t reg, uint32_t off, uint32_t n, uint32_t value)
{
	uint8_t b[4];

	memcpy(b, config + reg, sizeof b);
	memcpy(b + (off - reg), &value, n);
	memcpy(&value, b, sizeof b);
	return value;
}

/* off and n were checked: inside one aligned 32-bit register. */
static void config_write(struct pci_fn *f, uint32_t off, uint32_t n, uint32_t value)
{
	uint32_t reg = off & ~3u, v = merge(f->config, reg, off, n, value);

	if (reg == PCI_COMMAND)
		put16(f->config + PCI_COMMAND, (uint16_t)(v & f->command_bits));
	else if (reg == PCI_BASE_ADDRESS_0 &&
		 f->has_bar) /* all ones asks for the size; it stays where it is */
		put32(f->config + reg, v == UINT32_MAX ? ~(LAYOUT_BAR_SIZE - 1u) : (uint32_t)pci_bar(f));
	else if (f->ops && f->ops->config_write)
		f->ops->config_write(f, off, n, value);
}

static struct pci_fn *addressed(const struct pci_bus *b, uint32_t port_off, uint32_t *ret_off)
{
	uint32_t a = b->address;

	/* bus 0, function 0 */
	if (!(a & ADDRESS_ENABLE) || (a >> 16 & 0xFF) != 0 || (a >> 8 & 7) != 0)
		return NULL;
	*ret_off = (a & 0xFC) + (port_off - PORT_DATA);
	return b->slots[a >> 11 & (LAYOUT_PCI_SLOTS - 1)];
}

/* A data access stays inside its 32-bit register. */
static bool data_ok(uint32_t off, uint32_t n)
{
	return off >= PORT_DATA && off < PORT_DATA + 4 && n <= PORT_DATA + 4 - off;
}

void pci_port_read(struct pci_bus *b, uint32_t off, uint8_t *dst, uint32_t n)
{
	struct pci_fn *f = NULL;
	uint32_t at = 0;

	memset(dst, 0xFF, n);
	lock(b);
	if (off == 0 && n == 4) {
		memcpy(dst, &b->address, 4);
	} else if (data_ok(off, n) && (f = addressed(b, off, &at)) != NULL) {
		if (f->ops && f->ops->config_read)
			f->ops->config_read(f, at, n);
		memcpy(dst, f->config + at, n);
	}
	unlock(b);
}

void pci_port_write(struct pci_bus *b, uint32_t off, const uint8_t *src, uint32_t n)
{
	struct pci_fn *f = NULL;
	uint32_t at = 0, value = 0;

	lock(b);
	if (off == 0 && n == 4) {
		memcpy(&b->address, src, 4);
	} else if (data_ok(off, n) && (f = addressed(b, off, &at)) != NULL) {
		memcpy(&value, src, n);
		config_write(f, at, n, value);
	}
	unlock(b);
}

/* The function whose BAR holds [addr, addr + n). */
static struct pci_fn *bar_at(const struct pci_bus *b, uint64_t addr, uint32_t n, uint32_t *ret_off)
{
	uint64_t at = addr - LAYOUT_BAR32;
	struct pci_fn *f;

	if (addr < LAYOUT_BAR32 || at >= (uint64_t)LAYOUT_PCI_SLOTS * LAYOUT_BAR_SIZE)
		return NULL;
	*ret_off = (uint32_t)(at % LAYOUT_BAR_SIZE);
	f = b->slots[at / LAYOUT_BAR_SIZE];
	return f && f->has_bar && n <= LAYOUT_BAR_SIZE - *ret_off ? f : NULL;
}

bool pci_mem_read(struct pci_bus *b, uint64_t addr, uint8_t *dst, uint32_t n)
{
	uint32_t off;
	struct pci_fn *f = bar_at(b, addr, n, &off);

	if (f)
		f->ops->bar_read(f, off, dst, n);
	return f != NULL;
}

bool pci_mem_write(struct pci_bus *b, uint64_t addr, const uint8_t *src, uint32_t n)
{
	uint32_t off;
	struct pci_fn *f = bar_at(b, addr, n, &off);

	if (f)
		f->ops->bar_write(f, off, src, n);
	return f != NULL;
}
