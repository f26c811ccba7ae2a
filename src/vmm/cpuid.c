/* cpuid.c - see cpuid.h. Called for each vCPU before it runs. Trusts: KVM's list. */
#include "vmm/cpuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define LAPIC_KHZ 1000000u /* KVM's LAPIC timer counts nanoseconds */

/* Leaf 1, ECX and EDX */
#define F1C_TSC_DEADLINE (1u << 24)
#define F1C_HYPERVISOR   (1u << 31)
#define F1D_HTT          (1u << 28)

#define LEAF_TOPOLOGY     0x0Bu
#define LEAF_TSC          0x15u
#define LEAF_FREQUENCY    0x16u
#define LEAF_TOPOLOGY_V2  0x1Fu
#define LEAF_KVM          0x40000000u
#define LEAF_KVM_TIMING   0x40000010u
#define LEAF_AMD_SIZES    0x80000008u
#define LEAF_AMD_TOPOLOGY 0x8000001Eu

#define VENDOR_INTEL_EBX 0x756E6547u /* "Genu" */

static struct kvm_cpuid_entry2 *find(struct cpuid_table *t, uint32_t leaf, uint32_t sub)
{
	for (uint32_t i = 0; i < t->head.nent; i++)
		if (t->entries[i].function == leaf && t->entries[i].index == sub)
			return &t->entries[i];
	return NULL;
}

/* The entry, made if need be; NULL if the table is full. */
static struct kvm_cpuid_entry2 *get(struct cpuid_table *t, uint32_t leaf, uint32_t sub)
{
	struct kvm_cpuid_entry2 *x = find(t, leaf, sub);

	if (x || t->head.nent == CPUID_MAX)
		return x;
	x = &t->entries[t->head.nent++];
	*x = (struct kvm_cpuid_entry2){ .function = leaf, .index = sub };
	return x;
}

static void drop(struct cpuid_table *t, uint32_t leaf)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->head.nent; i++)
		if (t->entries[i].function != leaf)
			t->entries[n++] = t->entries[i];
	t->head.nent = n;
}

static uint32_t bits_for(uint32_t n)
{
	uint32_t bits = 0;

	while (1u << bits < n)
		bits++;
	return bits;
}

/* x2APIC topology: one thread a core, n cores a package. */
static void fit_topology(struct cpuid_table *t, uint32_t leaf, uint32_t id, uint32_t n)
{
	const uint32_t level[][4] = {
		{ 0, 1, 0 | 1u << 8, id },
		{ bits_for(n), n, 1 | 2u << 8, id },
		{ 0, 0, 2, id },
	};

	if (!find(t, leaf, 0))
		return;
	drop(t, leaf);
	for (uint32_t i = 0; i < 3; i++) {
		struct kvm_cpuid_entry2 *x = get(t, leaf, i);

		if (!x)
			return;
		x->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		x->eax = level[i][0];
		x->ebx = level[i][1];
		x->ecx = level[i][2];
		x->edx = level[i][3];
	}
}

static void fit_leaf1(struct cpuid_table *t, uint32_t id, uint32_t n)
{
	struct kvm_cpuid_entry2 *x = find(t, 1, 0);

	if (!x)
		return;
	x->ebx = (x->ebx & 0xFFFF) | n << 16 | id << 24;
	x->ecx |= F1C_HYPERVISOR | F1C_TSC_DEADLINE;
	x->edx = n > 1 ? x->edx | F1D_HTT : x->edx & ~F1D_HTT;
}

static void fit_amd(struct cpuid_table *t, uint32_t id, uint32_t n)
{
	struct kvm_cpuid_entry2 *x = find(t, LEAF_AMD_SIZES, 0);

	if (x)
		x->ecx = (x->ecx & ~0xF0FFu) | (n - 1) | bits_for(n) << 12;
	x = find(t, LEAF_AMD_TOPOLOGY, 0);
	if (x) {
		x->eax = id;
		x->ebx = id & 0xFF; /* one thread a core */
		x->ecx = 0;
	}
}

/* Intel's caches (leaf 4): how many CPUs share each. */
static void fit_caches(struct cpuid_table *t, uint32_t n)
{
	for (uint32_t i = 0; i < t->head.nent; i++) {
		struct kvm_cpuid_entry2 *x = &t->entries[i];
		uint32_t level = x->eax >> 5 & 7;

		if (x->function != 4 || !(x->eax & 0x1F))
			continue;
		x->eax &= 0x3FFFu;
		x->eax |= (n - 1) << 26 | (level >= 3 ? n - 1 : 0) << 14;
	}
}

static void fit_frequencies(struct cpuid_table *t, uint32_t tsc_khz)
{
	struct kvm_cpuid_entry2 *x = find(t, 0, 0), *kvm = find(t, LEAF_KVM, 0);
	bool intel = x && x->ebx == VENDOR_INTEL_EBX;

	if (kvm && kvm->eax < LEAF_KVM_TIMING)
		kvm->eax = LEAF_KVM_TIMING;
	if (kvm && (kvm = get(t, LEAF_KVM_TIMING, 0)) != NULL) {
		kvm->eax = tsc_khz;
		kvm->ebx = LAPIC_KHZ;
	}
	if (!intel)
		return; /* AMD's list ends below, and nobody reads them there */
	if (x->eax < LEAF_FREQUENCY)
		x->eax = LEAF_FREQUENCY;
	x = get(t, LEAF_TSC, 0);
	if (x) { /* TSC Hz = crystal (the LAPIC's clock) * ebx / eax */
		x->eax = LAPIC_KHZ;
		x->ebx = tsc_khz;
		x->ecx = LAPIC_KHZ * 1000u;
	}
	x = get(t, LEAF_FREQUENCY, 0);
	if (x) {
		x->eax = x->ebx = tsc_khz / 1000;
		x->ecx = 100;
	}
}

void cpuid_fit(struct cpuid_table *t, uint32_t id, uint32_t n, uint32_t tsc_khz)
{
	fit_leaf1(t, id, n);
	fit_topology(t, LEAF_TOPOLOGY, id, n);
	fit_topology(t, LEAF_TOPOLOGY_V2, id, n);
	fit_amd(t, id, n);
	fit_caches(t, n);
	if (tsc_khz)
		fit_frequencies(t, tsc_khz);
}
