/* cmdline.c - see cmdline.h. Trusts: the vmcfg. Every word concerns the guest's own kernel only; none
 * weakens what separates it from the host. Hardening of the guest's kernel stays on: docs/machine.md
 * says what leaving it out would buy. */
#include "hyper/cmdline.h"

#include <string.h>
#include <time.h>

#include "base/num.h"

/* What differs with the machine's devices. */
static const char *const machine_words[PLAN_HV_N] = {
	[PLAN_HV_QEMU] = "console=ttyS0 8250.nr_uarts=1",
	/* No UART. */
	[PLAN_HV_KVM] = "console=hvc0 8250.nr_uarts=0",
};

/* What differs if it has pmem devices. QEMU's tables speak of memory beyond 4 GiB then, for which a stock
 * kernel sets 64 MiB aside (swiotlb). */
static const char *const layer_words[PLAN_HV_N] = { [PLAN_HV_QEMU] = " numa=off", [PLAN_HV_KVM] = "" };

/* The kernel numbers the devices in the order in which they are on the bus. */
static const char os_words[] = "root=/dev/pmem0 rootfstype=erofs rootflags=dax=always ro rootwait init=/init";

static const char *const words[] = {
	/* Life: a panic must end the machine, and leave its last words on the console. */
	"quiet",
	"panic=-1",
	"reboot=t", /* a triple fault: needs no device */
	/* Self-tests of ciphers: more than half of all instructions until user space. */
	"cryptomgr.notests",
	/* Waits, and doubts about clocks that a hypervisor makes exact. */
	"no_timer_check",
	"tsc=reliable",
	"rcupdate.rcu_expedited=1",
	/* Those that work without a policy, which the guest has none of: others only lengthen every way. */
	"lsm=landlock,lockdown,yama,integrity",
};

/* On one CPU the kernel would write over every LOCK prefix; each write costs software emulation the page's
 * translation. Emulated, the prefix is free. */
static const char keep_locks[] = "noreplace-smp";

/* Tables of names and inodes, by Linux one bucket for each 8 and 16 KiB of memory: then nearly every name
 * that is looked up writes to a page of its own, which a clone has to copy. Chains of eight cost less. */
#define DENTRY_SHARE (64u << 10)
#define INODE_SHARE  (128u << 10)

#define TSC_WORD "tsc_early_khz="

#define NS_PER_MS    1000000u
#define KHZ_PER_MHZ  1000u
#define TSC_ATTEMPTS 3
#define TSC_FOR_NS   (NS_PER_MS / 4) /* each start of a container waits for it */
#define TSC_GAP_NS   2000u           /* a longer gap between the two clocks: the process was interrupted */
#define STAMPS       4               /* of which the best is taken */

#if defined(__x86_64__)
struct stamp {
	uint64_t tsc, ns;
	bool ok;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC_RAW, &t); /* can't fail with this clock */
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Both clocks at one moment. */
static struct stamp stamp(void)
{
	struct stamp best = { 0 };
	uint64_t least = TSC_GAP_NS;

	for (int i = 0; i < STAMPS; i++) {
		uint64_t before = now_ns(), tsc = __builtin_ia32_rdtsc(), gap = now_ns() - before;

		if (i == 0 || gap < least)
			best = (struct stamp){ .tsc = tsc, .ns = before + gap / 2, .ok = gap < TSC_GAP_NS };
		least = num_min(least, gap);
	}
	return best;
}

/* The host's TSC, which software emulation shows to the guest as it is: the guest can neither ask for its
 * frequency nor measure it well while it is one process among others. Whole MHz: the guest's kernel refines
 * it later, and equal machines get equal lines. 0 = unknown. */
static uint64_t tsc_khz(void)
{
	for (int i = 0; i < TSC_ATTEMPTS; i++) {
		struct stamp a = stamp(), b;

		do {
			b = stamp();
		} while (b.ns - a.ns < TSC_FOR_NS);
		if (a.ok && b.ok && b.tsc > a.tsc)
			return ((b.tsc - a.tsc) * 1000u + (b.ns - a.ns) / 2) / (b.ns - a.ns) * KHZ_PER_MHZ;
	}
	return 0;
}
#else
static uint64_t tsc_khz(void)
{
	return 0;
}
#endif

int hv_kernel_cmdline(const struct vmcfg *cfg, struct str *to)
{
	uint64_t khz = cfg->kvm ? 0 : tsc_khz();
	const char *gap = " ";

	str_add(to, machine_words[cfg->hypervisor]);
	if (cfg->fsd_path)
		str_addf(to, "%s" WORD_VIRTIOFS, gap);
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		str_add(to, gap);
		str_add(to, words[i]);
	}
	str_addf(to, "%sdhash_entries=%llu%sihash_entries=%llu", gap,
		 (unsigned long long)(cfg->memory / DENTRY_SHARE), gap,
		 (unsigned long long)(cfg->memory / INODE_SHARE));
	if (!cfg->kvm)
		str_addf(to, "%s%s", gap, keep_locks);
	if (cfg->layers.n)
		str_addf(to, "%s" WORD_LAYERS "%zu%s", gap, cfg->layers.n, layer_words[cfg->hypervisor]);
	if (cfg->disk.path)
		str_addf(to, "%s" WORD_DISK, gap);
	if (vmcfg_os_layers(cfg))
		str_addf(to, "%s%s", gap, os_words);
	if (khz)
		str_addf(to, "%s" TSC_WORD "%llu", gap, (unsigned long long)khz);
	return str_check(to);
}

/* A host too busy to be measured has no such word: the shape must not show it, not even by a blank. */
void hv_cmdline_shape(const char *cmdline, struct str *to)
{
	const char *gap = "", *p = cmdline;

	while (*p) {
		size_t n = strcspn(p, " ");

		if (n > 0 && !str_starts(p, TSC_WORD)) {
			str_add(to, gap);
			str_addn(to, p, n);
			gap = " ";
		}
		p += n + (p[n] == ' ');
	}
}
