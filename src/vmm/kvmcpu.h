/* kvmcpu.h - the registers of a KVM vCPU as one struct (hv.h). For kvm.c only. */
#ifndef VMM_KVMCPU_H
#define VMM_KVMCPU_H

#include "vmm/hv.h"

/* Of a vCPU that does not run. `boot`: only regs, sregs and mp. */
int must_check kvmcpu_get(int vcpu, struct hv_cpu *ret, bool boot, struct err *e);
/* `boot`: only regs, sregs, msrs and mp. */
int must_check kvmcpu_set(int vcpu, const struct hv_cpu *c, bool boot, struct err *e);

#endif
