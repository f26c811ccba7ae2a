/* kvmcpu.c - see kvmcpu.h. Called by kvm.c. Trusts: KVM, which checks what a snapshot sets. */
#include "vmm/kvmcpu.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* The MSRs that are a running guest's; those KVM does not know are left out. The deadline comes last: it
 * arms the LAPIC's timer by the TSC. */
static const uint32_t msrs[] = {
	0x10,       /* TSC */
	0x3B,       /* TSC_ADJUST */
	0x48,       /* SPEC_CTRL */
	0x174,      /* SYSENTER_CS */
	0x175,      /* SYSENTER_ESP */
	0x176,      /* SYSENTER_EIP */
	0x1A0,      /* MISC_ENABLE */
	0x277,      /* PAT */
	0x2FF,      /* MTRR default type */
	0xDA0,      /* XSS */
	0xC0000081, /* STAR */
	0xC0000082, /* LSTAR */
	0xC0000083, /* CSTAR */
	0xC0000084, /* SYSCALL_MASK */
	0xC0000102, /* KERNEL_GS_BASE */
	0xC0000103, /* TSC_AUX */
	0xC001011F, /* VIRT_SPEC_CTRL */
	0x4B564D00, /* KVM: wall clock */
	0x4B564D01, /* system time */
	0x4B564D02, /* asynchronous page faults */
	0x4B564D03, /* steal time */
	0x4B564D04, /* EOI without exit */
	0x4B564D05, /* halt polling */
	0x4B564D06, /* vector of asynchronous page faults */
	0x6E0,      /* TSC_DEADLINE */
};
_Static_assert(ARRAY_LEN(msrs) <= HV_MSRS_MAX, "room in hv_cpu");

struct msr_block {
	struct {
		uint32_t nmsrs, pad;
	} head; /* as struct kvm_msrs */
	struct kvm_msr_entry entries[HV_MSRS_MAX];
};

/* One part of hv_cpu that one request gets or sets whole. */
struct part {
	unsigned long get, set;
	size_t offset;
	const char *name;
	bool boot;
};

#define PART(GET, SET, FIELD, BOOT)                                                                          \
	{                                                                                                    \
		GET, SET, offsetof(struct hv_cpu, FIELD), #FIELD, BOOT                                       \
	}

/* In the order of setting: what later ones depend on comes first. */
static const struct part before_msrs[] = {
	PART(KVM_GET_SREGS, KVM_SET_SREGS, sregs, true),  PART(KVM_GET_XCRS, KVM_SET_XCRS, xcrs, false),
	PART(KVM_GET_XSAVE, KVM_SET_XSAVE, xsave, false), PART(KVM_GET_REGS, KVM_SET_REGS, regs, true),
	PART(KVM_GET_LAPIC, KVM_SET_LAPIC, lapic, false),
};
static const struct part after_msrs[] = {
	PART(KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, debug, false),
	PART(KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events, false),
	PART(KVM_GET_MP_STATE, KVM_SET_MP_STATE, mp, true),
};

static int get_parts(int vcpu, const struct part *p, size_t n, struct hv_cpu *c, bool boot, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if ((p[i].boot || !boot) && ioctl(vcpu, p[i].get, (char *)c + p[i].offset) < 0)
			return err_set(e, -errno, "KVM: get %s: %m", p[i].name);
	return 0;
}

static int set_parts(int vcpu, const struct part *p, size_t n, const struct hv_cpu *c, bool boot,
		     struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if ((p[i].boot || !boot) && ioctl(vcpu, p[i].set, (const char *)c + p[i].offset) < 0)
			return err_set(e, -errno, "KVM: set %s: %m", p[i].name);
	return 0;
}

/* One by one: KVM stops at the first it does not know. */
static void get_msrs(int vcpu, struct hv_cpu *c)
{
	struct msr_block b = { .head = { .nmsrs = 1 } };

	c->n_msrs = 0;
	for (size_t i = 0; i < ARRAY_LEN(msrs); i++) {
		b.entries[0] = (struct kvm_msr_entry){ .index = msrs[i] };
		if (ioctl(vcpu, KVM_GET_MSRS, &b) == 1)
			c->msrs[c->n_msrs++] = b.entries[0];
	}
}

static int set_msrs(int vcpu, const struct hv_cpu *c, struct err *e)
{
	struct msr_block b = { .head = { .nmsrs = c->n_msrs } };
	int r;

	if (c->n_msrs > HV_MSRS_MAX)
		return err_set(e, -EBADMSG, "vCPU state: %u MSRs", c->n_msrs);
	if (c->n_msrs == 0)
		return 0;
	memcpy(b.entries, c->msrs, c->n_msrs * sizeof b.entries[0]);
	r = ioctl(vcpu, KVM_SET_MSRS, &b);
	if (r < 0)
		return err_set(e, -errno, "KVM: set MSRs: %m");
	if ((uint32_t)r != c->n_msrs)
		return err_set(e, -EBADMSG, "KVM refuses MSR 0x%x", b.entries[r].index);
	return 0;
}

int kvmcpu_get(int vcpu, struct hv_cpu *ret, bool boot, struct err *e)
{
	int r;

	memset(ret, 0, sizeof *ret);
	r = get_parts(vcpu, after_msrs, ARRAY_LEN(after_msrs), ret, boot, e);
	if (r == 0)
		r = get_parts(vcpu, before_msrs, ARRAY_LEN(before_msrs), ret, boot, e);
	if (r == 0 && !boot)
		get_msrs(vcpu, ret);
	return r;
}

int kvmcpu_set(int vcpu, const struct hv_cpu *c, bool boot, struct err *e)
{
	int r = set_parts(vcpu, before_msrs, ARRAY_LEN(before_msrs), c, boot, e);

	if (r == 0)
		r = set_msrs(vcpu, c, e);
	return r == 0 ? set_parts(vcpu, after_msrs, ARRAY_LEN(after_msrs), c, boot, e) : r;
}
