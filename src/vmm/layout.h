/* layout.h - where things are in the guest's address space. One table of constants: boot, PCI and devices
 * agree on it, and a snapshot depends on it. docs/vmm.md draws the map. */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#define LAYOUT_MIB (1ull << 20)
#define LAYOUT_GIB (1ull << 30)

/* Below 1 MiB: what a kernel finds when it starts. All of it is RAM; what is marked reserved stays. */
#define LAYOUT_GDT         0x0500u
#define LAYOUT_START_INFO  0x1000u /* PVH start_info, module list, memory map */
#define LAYOUT_ZERO_PAGE   0x2000u /* boot_params of the 64-bit protocol */
#define LAYOUT_PAGE_TABLES 0x3000u /* identity map of the first 4 GiB: 6 pages */
#define LAYOUT_STACK_TOP   0xF000u
#define LAYOUT_CMDLINE     0x10000u
#define LAYOUT_CMDLINE_MAX 0x10000u
#define LAYOUT_EBDA        0x9FC00u /* end of the RAM that is told below 1 MiB */
#define LAYOUT_ACPI        0xE0000u /* RSDP first; reserved */
#define LAYOUT_ACPI_MAX    0x10000u
#define LAYOUT_HIGH        0x100000u /* RAM goes on here */

/* RAM ends at the hole's start at most; what is beyond it goes to 4 GiB and up. */
#define LAYOUT_HOLE     0xC0000000ull
#define LAYOUT_BAR32    0xD0000000ull /* device registers: one LAYOUT_BAR_SIZE window for each PCI slot */
#define LAYOUT_BAR_SIZE 0x4000u
#define LAYOUT_LAPIC    0xFEE00000ull
#define LAYOUT_KVM_TSS                                                                                       \
	0xFFFBD000ull /* 3 pages that KVM wants on Intel; the identity map page before them                  \
		       */
#define LAYOUT_KVM_IDMAP 0xFFFBC000ull
#define LAYOUT_RAM_ABOVE 0x100000000ull
#define LAYOUT_PMEM_ALIGN                                                                                    \
	(1ull << 30) /* pmem slots start at the first multiple above RAM, each at a multiple */

/* I/O ports */
#define LAYOUT_PORT_PCI_ADDR  0xCF8u
#define LAYOUT_PORT_PCI_DATA  0xCFCu
#define LAYOUT_PORT_RESET     0xCF9u /* bit 2 resets (reboot=p, ACPI reset register) */
#define LAYOUT_PORT_KBD       0x64u  /* 0xFE resets (reboot=k); reads as an idle, empty controller */
#define LAYOUT_PORT_SLEEP_CTL 0x600u /* ACPI sleep control: S5 powers off */
#define LAYOUT_PORT_SLEEP_STS 0x601u
#define LAYOUT_PORT_UART      0x3F8u /* only with --console=... on a serial line */
#define LAYOUT_VCPUS_MAX      64u
#define LAYOUT_PCI_SLOTS      32u

#endif
