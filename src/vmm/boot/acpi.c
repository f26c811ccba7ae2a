/* acpi.c - the few ACPI tables that a stock kernel needs to find its CPUs, the PCI bus and the way to power
 * off.
 *
 * Hardware-reduced: no SCI, no PM timer, no legacy devices, so the kernel neither looks for an interrupt
 * controller beside the LAPICs nor calibrates against a timer. Called by boot.c. */
#include <errno.h>
#include <string.h>

#include "vmm/boot/boot.h"
#include "vmm/layout.h"

#define HEADER 36u

/* FADT: offsets and flags (ACPI 6.4, 5.2.9) */
#define FADT_LEN         276u
#define FADT_BOOT_ARCH   109u
#define FADT_FLAGS       112u
#define FADT_RESET_REG   116u
#define FADT_RESET_VALUE 128u
#define FADT_MINOR       131u
#define FADT_X_DSDT      140u
#define FADT_SLEEP_CTL   244u
#define FADT_SLEEP_STS   256u
#define BOOT_ARCH_NO_VGA (1u << 2)
#define BOOT_ARCH_NO_RTC (1u << 5)
#define FLAG_PWR_BUTTON  (1u << 4) /* there is none of the fixed kind */
#define FLAG_SLP_BUTTON  (1u << 5)
#define FLAG_RESET       (1u << 10)
#define FLAG_REDUCED     (1u << 20)

/* Where the tables are built before they are written. */
struct tables {
	uint8_t b[LAYOUT_ACPI_MAX / 16];
	uint32_t n;
};

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof v);
}

static void put64(uint8_t *p, uint64_t v)
{
	memcpy(p, &v, sizeof v);
}

/* A generic address: one byte-wide I/O port. */
static void put_port(uint8_t *p, uint32_t port)
{
	p[0] = 1; /* I/O space */
	p[1] = 8;
	p[3] = 1; /* byte access */
	put64(p + 4, port);
}

static uint8_t sum(const uint8_t *p, uint32_t n)
{
	uint8_t s = 0;

	for (uint32_t i = 0; i < n; i++)
		s = (uint8_t)(s + p[i]);
	return s;
}

/* Room for a table of `len` bytes with its header; returns its first byte. */
static uint8_t *begin(struct tables *t, const char *sig, uint8_t revision, uint32_t len, uint64_t *ret_gpa)
{
	uint8_t *p = t->b + t->n;

	memcpy(p, sig, 4);
	put32(p + 4, len);
	p[8] = revision;
	memcpy(p + 10, "COR   CORVMM  ", 14);
	put32(p + 24, 1);
	memcpy(p + 28, "COR ", 4);
	put32(p + 32, 1);
	*ret_gpa = LAYOUT_ACPI + t->n;
	t->n += (len + 15) & ~15u;
	return p;
}

static void end(uint8_t *p)
{
	uint32_t len;

	memcpy(&len, p + 4, sizeof len);
	p[9] = (uint8_t)-sum(p, len);
}

/* AML:
 *   Scope(\_SB) { Device(PCI0) {
 *     Name(_HID, EisaId("PNP0A03"))  Name(_BBN, 0)
 *     Name(_CRS, ResourceTemplate() { WordBusNumber(0..0)  DWordMemory(window of the BARs) })
 *   } }
 *   Name(\_S5, Package() { 5, 5, 0, 0 }) */
#define LE16(v)  (uint8_t)(v), (uint8_t)((v) >> 8)
#define LE32(v)  LE16(v), LE16((v) >> 16)
#define BAR_LAST ((uint32_t)LAYOUT_BAR32 + LAYOUT_PCI_SLOTS * LAYOUT_BAR_SIZE - 1)
#define CRS_LEN  (16 + 26 + 2)
/* A package's length counts itself: here always two bytes. */
#define PKG_LEN(n) 0x40 | ((n)&15), (n) >> 4
#define DEVICE_LEN (2 + 4 + 10 + 6 + 10 + CRS_LEN)
#define SCOPE_LEN  (2 + 5 + 2 + DEVICE_LEN)

#define SEG(a, b, c, d) a, b, c, d

static const uint8_t aml[] = {
	/* clang-format off: a line an object */
	0x10, PKG_LEN(SCOPE_LEN), '\\', SEG('_', 'S', 'B', '_'), 0x5B, 0x82, PKG_LEN(DEVICE_LEN),
	SEG('P', 'C', 'I', '0'), 0x08, SEG('_', 'H', 'I', 'D'), 0x0C, 0x41, 0xD0, 0x0A, 0x03, 0x08,
	SEG('_', 'B', 'B', 'N'), 0x00, 0x08, SEG('_', 'C', 'R', 'S'), 0x11, PKG_LEN(CRS_LEN + 4), 0x0A,
	CRS_LEN,
	/* word address space: bus numbers 0..0 */
	0x88, LE16(13), 2, 0x0C, 0, LE16(0), LE16(0), LE16(0), LE16(0), LE16(1),
	/* dword address space: memory, not cacheable, read-write; end tag */
	0x87, LE16(23), 0, 0x0C, 1, LE32(0u), LE32((uint32_t)LAYOUT_BAR32), LE32(BAR_LAST), LE32(0u),
	LE32(LAYOUT_PCI_SLOTS *LAYOUT_BAR_SIZE), 0x79, 0, 0x08, '\\', SEG('_', 'S', '5', '_'), 0x12, 8, 4,
	0x0A, 5, 0x0A, 5, 0, 0,
	/* clang-format on */
};

static uint64_t add_dsdt(struct tables *t)
{
	uint64_t at;
	uint8_t *p = begin(t, "DSDT", 2, HEADER + sizeof aml, &at);

	memcpy(p + HEADER, aml, sizeof aml);
	end(p);
	return at;
}

static uint64_t add_fadt(struct tables *t, uint64_t dsdt)
{
	uint64_t at;
	uint8_t *p = begin(t, "FACP", 6, FADT_LEN, &at);

	put32(p + 40, (uint32_t)dsdt);
	p[FADT_BOOT_ARCH] = BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_RTC;
	put32(p + FADT_FLAGS,
	      1u /* WBINVD works */ | FLAG_PWR_BUTTON | FLAG_SLP_BUTTON | FLAG_RESET | FLAG_REDUCED);
	put_port(p + FADT_RESET_REG, LAYOUT_PORT_RESET);
	p[FADT_RESET_VALUE] = 6;
	p[FADT_MINOR] = 4;
	put64(p + FADT_X_DSDT, dsdt);
	put_port(p + FADT_SLEEP_CTL, LAYOUT_PORT_SLEEP_CTL);
	put_port(p + FADT_SLEEP_STS, LAYOUT_PORT_SLEEP_STS);
	end(p);
	return at;
}

static uint64_t add_madt(struct tables *t, uint32_t n_vcpus)
{
	uint32_t len = HEADER + 8 + n_vcpus * 8;
	uint64_t at;
	uint8_t *p = begin(t, "APIC", 5, len, &at), *x = p + HEADER;

	put32(x, (uint32_t)LAYOUT_LAPIC);
	put32(x + 4, 0); /* no PICs beside */
	x += 8;
	for (uint32_t i = 0; i < n_vcpus; i++, x += 8) {
		x[0] = 0; /* processor local APIC */
		x[1] = 8;
		x[2] = x[3] = (uint8_t)i;
		put32(x + 4, 1); /* enabled */
	}
	end(p);
	return at;
}

int acpi_write(const struct gmem *mem, uint32_t n_vcpus, struct err *e)
{
	struct tables t = { .n = 48 }; /* the RSDP's room */
	uint64_t dsdt, sub[2], xsdt;
	uint8_t *p;

	_Static_assert(sizeof aml + 6 * HEADER + FADT_LEN + 8 * LAYOUT_VCPUS_MAX + 256 < sizeof t.b, "room");
	if (n_vcpus > LAYOUT_VCPUS_MAX)
		return err_set(e, -EINVAL, "%u vCPUs: at most %u", n_vcpus, LAYOUT_VCPUS_MAX);
	dsdt = add_dsdt(&t);
	sub[0] = add_fadt(&t, dsdt);
	sub[1] = add_madt(&t, n_vcpus);
	p = begin(&t, "XSDT", 1, HEADER + sizeof sub, &xsdt);
	memcpy(p + HEADER, sub, sizeof sub);
	end(p);
	memcpy(t.b, "RSD PTR ", 8);
	memcpy(t.b + 9, "COR   ", 6);
	t.b[15] = 2;
	put32(t.b + 20, 36);
	put64(t.b + 24, xsdt);
	t.b[8] = (uint8_t)-sum(t.b, 20);
	t.b[32] = (uint8_t)-sum(t.b, 36);
	if (gmem_write(mem, gpa(LAYOUT_ACPI), t.b, t.n) < 0)
		return err_set(e, -ENOMEM, "no memory for the ACPI tables");
	return 0;
}
