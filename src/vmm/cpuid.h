/* cpuid.h - what the guest's CPUs say of themselves: KVM's list, fitted to a vCPU. */
#ifndef VMM_CPUID_H
#define VMM_CPUID_H

#include <linux/kvm.h>
#include <stdint.h>

#define CPUID_MAX 256

/* As KVM_GET_SUPPORTED_CPUID fills it and KVM_SET_CPUID2 takes it. */
struct cpuid_table {
	struct {
		uint32_t nent, padding;
	} head; /* as struct kvm_cpuid2, which ends in an array of unknown length */
	struct kvm_cpuid_entry2 entries[CPUID_MAX];
};

/* Fits the table to vCPU `id` of `n` (one socket, no threads): APIC ID, topology, the frequencies that the
 * guest would otherwise measure against timers we do not have. tsc_khz 0: not known. */
void cpuid_fit(struct cpuid_table *t, uint32_t id, uint32_t n, uint32_t tsc_khz);

#endif
