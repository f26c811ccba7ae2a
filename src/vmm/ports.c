/* ports.c - I/O ports and the dispatch of a vCPU's exits: PCI configuration, power, reset, and an optional
 * UART.
 *
 * Called by vCPU threads. Distrusts: ports, sizes, values. What nobody claims reads as all ones and swallows
 * writes, as an empty bus does. Never: takes a lock that a device holds while it waits, logs what a guest
 * does. */
#include <errno.h>
#include <string.h>

#include "vmm/layout.h"
#include "vmm/machine.h"

#define RESET_BIT    0x04u
#define KBD_RESET    0xFEu
#define SLEEP_ENABLE 0x20u
#define SLEEP_TYPE   (7u << 2)
#define S5           (5u << 2) /* as _S5 in boot/acpi.c says */

static void pci_read(struct machine *m, uint32_t off, uint8_t *p, uint32_t n)
{
	pci_port_read(&m->pci, off, p, n);
}

static void pci_write(struct machine *m, uint32_t off, const uint8_t *p, uint32_t n)
{
	/* 0xCF9 lies between the two PCI registers; only a whole 0xCF8 is the address. */
	if (off == LAYOUT_PORT_RESET - LAYOUT_PORT_PCI_ADDR && n == 1) {
		if (*p & RESET_BIT)
			machine_stop(m, END_RESET, NULL, 0);
		return;
	}
	pci_port_write(&m->pci, off, p, n);
}

static void kbd_read(struct machine *m, uint32_t off, uint8_t *p, uint32_t n)
{
	(void)m;
	(void)off;
	memset(p, 0, n); /* idle: nothing to read, ready for a command */
}

static void kbd_write(struct machine *m, uint32_t off, const uint8_t *p, uint32_t n)
{
	(void)off;
	(void)n;
	if (*p == KBD_RESET)
		machine_stop(m, END_RESET, NULL, 0);
}

static void sleep_read(struct machine *m, uint32_t off, uint8_t *p, uint32_t n)
{
	(void)m;
	(void)off;
	memset(p, 0, n);
}

static void sleep_write(struct machine *m, uint32_t off, const uint8_t *p, uint32_t n)
{
	(void)n;
	if (off == 0 && (*p & (SLEEP_ENABLE | SLEEP_TYPE)) == (SLEEP_ENABLE | S5))
		machine_stop(m, END_POWEROFF, NULL, 0);
}

/* ---- a 16550 that only sends: early messages of stock kernels. No interrupt: drivers poll it. ---- */

enum { UART_DATA, UART_IER, UART_IIR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCRATCH };
#define LCR_DLAB   0x80u
#define LSR_IDLE   0x60u
#define MSR_READY  0xB0u /* carrier, data set, clear to send */
#define IIR_NONE   0x01u
#define IIR_16550A 0xC0u

static void uart_read(struct machine *m, uint32_t off, uint8_t *p, uint32_t n)
{
	uint8_t regs[8] = { [UART_IER] = m->uart_ier,        [UART_IIR] = IIR_NONE | IIR_16550A,
			    [UART_LCR] = m->uart_lcr,        [UART_MCR] = m->uart_mcr,
			    [UART_LSR] = LSR_IDLE,           [UART_MSR] = MSR_READY,
			    [UART_SCRATCH] = m->uart_scratch };

	if (n == 1)
		*p = regs[off];
}

static void uart_write(struct machine *m, uint32_t off, const uint8_t *p, uint32_t n)
{
	ssize_t r;

	if (n != 1)
		return;
	if (off == UART_DATA && !(m->uart_lcr & LCR_DLAB)) {
		r = write(m->serial_fd, p, 1);
		(void)r; /* nobody reads, or too slowly: as on a cable that is not plugged in */
	} else if (off == UART_IER && !(m->uart_lcr & LCR_DLAB)) {
		m->uart_ier = *p & 0x0F;
	} else if (off == UART_LCR) {
		m->uart_lcr = *p;
	} else if (off == UART_MCR) {
		m->uart_mcr = *p & 0x1F;
	} else if (off == UART_SCRATCH) {
		m->uart_scratch = *p;
	}
}

/* ---- dispatch ---- */

static const struct {
	uint16_t first, len;
	void (*read)(struct machine *m, uint32_t off, uint8_t *p, uint32_t n);
	void (*write)(struct machine *m, uint32_t off, const uint8_t *p, uint32_t n);
} ports[] = {
	{ LAYOUT_PORT_PCI_ADDR, 8, pci_read, pci_write },
	{ LAYOUT_PORT_SLEEP_CTL, 2, sleep_read, sleep_write },
	{ LAYOUT_PORT_KBD, 1, kbd_read, kbd_write },
	{ LAYOUT_PORT_UART, 8, uart_read, uart_write },
};

static void access_port(struct machine *m, const struct hv_exit *x, uint8_t *data)
{
	if (!x->write)
		memset(data, 0xFF, x->size);
	for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
		uint64_t off = x->addr - ports[i].first;

		if (x->addr < ports[i].first || off >= ports[i].len)
			continue;
		if (ports[i].first == LAYOUT_PORT_UART && m->serial_fd < 0)
			return;
		if (x->write)
			ports[i].write(m, (uint32_t)off, data, x->size);
		else
			ports[i].read(m, (uint32_t)off, data, x->size);
		return;
	}
}

void machine_exit(struct machine *m, const struct hv_exit *x)
{
	switch (x->kind) {
	case HV_EXIT_INTR:
		break;
	case HV_EXIT_PIO:
		for (uint32_t i = 0; i < x->count; i++) /* the hypervisor's bound: a page */
			access_port(m, x, x->data + (size_t)i * x->size);
		break;
	case HV_EXIT_MMIO:
		if (x->write)
			(void)pci_mem_write(&m->pci, x->addr, x->data, x->size); /* nobody there: swallowed */
		else if (!pci_mem_read(&m->pci, x->addr, x->data, x->size))
			memset(x->data, 0xFF, x->size);
		break;
	case HV_EXIT_RESET:
		machine_stop(m, END_RESET, NULL, 0);
		break;
	case HV_EXIT_CRASH:
		machine_stop(m, END_CRASH, x->reason, x->code);
		break;
	}
}
