/* pci.h - one PCI bus: configuration mechanism #1, a host bridge, and functions with one memory BAR and
 * MSI-X.
 *
 * A slot's BAR is the fixed window LAYOUT_BAR32 + slot * LAYOUT_BAR_SIZE: it can be sized, not moved, so
 * dispatching an access is a division. There are no interrupt pins.
 *
 * Threads: slots are filled before the guest runs. Configuration accesses come from vCPU threads; one lock
 * orders them. BAR accesses take no lock here. */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "vmm/layout.h"

#define PCI_CONFIG_SIZE 256

struct pci_fn;

struct pci_fn_ops {
	/* The guest wrote n bytes (1, 2 or 4) at `off` of the configuration space; the header is served
	 * already. */
	void (*config_write)(struct pci_fn *f, uint32_t off, uint32_t n, uint32_t value);
	/* The guest reads there: may bring config[] up to date. */
	void (*config_read)(struct pci_fn *f, uint32_t off, uint32_t n);
	/* An access to the BAR: off + n <= LAYOUT_BAR_SIZE, n is 1, 2, 4 or 8. */
	void (*bar_read)(struct pci_fn *f, uint32_t off, void *dst, uint32_t n);
	void (*bar_write)(struct pci_fn *f, uint32_t off, const void *src, uint32_t n);
};

/* One function; embedded. What the guest reads is config[]; it writes the command register, BAR 0 and what
 * ops allow. */
struct pci_fn {
	const struct pci_fn_ops *ops;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t slot;
	bool has_bar;
	uint16_t command_bits; /* bits of the command register that the guest may set */
};

struct pci_bus {
	pthread_mutex_t lock;
	uint32_t address; /* 0xCF8 */
	struct pci_fn bridge;
	struct pci_fn *slots[LAYOUT_PCI_SLOTS]; /* borrowed; [0] is the bridge */
};

void pci_init(struct pci_bus *b);
void pci_fini(struct pci_bus *b);
/* Puts a function into the next slot and gives it its BAR. -ENOSPC: the bus is full. Before the guest runs.
 */
int must_check pci_add(struct pci_bus *b, struct pci_fn *f);

static inline uint64_t pci_bar(const struct pci_fn *f)
{
	return LAYOUT_BAR32 + (uint64_t)f->slot * LAYOUT_BAR_SIZE;
}

/* Fills the header of a config space. class: base class << 16 | sub-class << 8 | interface. */
struct pci_ids {
	uint16_t vendor, device, sub_vendor, sub_device;
	uint32_t class_rev; /* class << 8 | revision */
};
void pci_header(struct pci_fn *f, const struct pci_ids *ids);
/* Appends a capability of `len` bytes (with its two header bytes) at `at`, which the caller lays out; links
 * it. */
void pci_cap(struct pci_fn *f, uint8_t at, uint8_t id);

/* Port accesses 0xCF8..0xCFF: `off` from 0xCF8, n is 1, 2 or 4. */
void pci_port_read(struct pci_bus *b, uint32_t off, uint8_t *dst, uint32_t n);
void pci_port_write(struct pci_bus *b, uint32_t off, const uint8_t *src, uint32_t n);
/* Memory accesses anywhere: false if no BAR is there. */
bool pci_mem_read(struct pci_bus *b, uint64_t addr, uint8_t *dst, uint32_t n);
bool pci_mem_write(struct pci_bus *b, uint64_t addr, const uint8_t *src, uint32_t n);

#endif
