/* caps.c - see caps.h. Trusts its caller; asks the kernel for everything else. */
#include "sys/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define CAPS_MAX 64

uint64_t caps_known(void)
{
	uint64_t known = 0;

	for (unsigned i = 0; i < CAPS_MAX; i++) {
		if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) < 0)
			break;
		known |= UINT64_C(1) << i;
	}
	return known;
}

static int cap_get(struct __user_cap_data_struct d[2])
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capget, &h, d) < 0 ? -errno : 0;
}

static uint64_t join(uint32_t low, uint32_t high)
{
	return (uint64_t)high << 32 | low;
}

int caps_get(struct caps_sets *ret)
{
	struct __user_cap_data_struct d[2];
	struct caps_sets s = { 0 };
	uint64_t known = caps_known();
	int r;

	r = cap_get(d);
	if (r < 0)
		return r;
	s.effective = join(d[0].effective, d[1].effective);
	s.permitted = join(d[0].permitted, d[1].permitted);
	s.inheritable = join(d[0].inheritable, d[1].inheritable);
	for (unsigned i = 0; i < CAPS_MAX && known >> i & 1; i++) {
		if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
			s.bounding |= UINT64_C(1) << i;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1)
			s.ambient |= UINT64_C(1) << i;
	}
	*ret = s;
	return 0;
}

int caps_set_bounding(uint64_t keep)
{
	for (unsigned i = 0; i < CAPS_MAX; i++) {
		int has = prctl(PR_CAPBSET_READ, i, 0, 0, 0);

		if (has < 0)
			break; /* past the last one */
		if (has == 1 && !(keep >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

int caps_keep_on_setuid(bool keep)
{
	return prctl(PR_SET_KEEPCAPS, keep ? 1 : 0, 0, 0, 0) < 0 ? -errno : 0;
}

static int set_ambient(uint64_t want)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return errno == EINVAL ? 0 : -errno;
	for (unsigned i = 0; i < CAPS_MAX; i++)
		if (want >> i & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
			return -errno;
	return 0;
}

/* Those of `these` that are in the bounding set. */
static uint64_t bounding_of(uint64_t these)
{
	uint64_t in = 0;

	for (unsigned i = 0; i < CAPS_MAX; i++)
		if (these >> i & 1 && prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
			in |= UINT64_C(1) << i;
	return in;
}

int caps_set(const struct caps_sets *want)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { 0 };
	uint64_t now, permitted, effective, inheritable;
	int r;

	r = cap_get(d);
	if (r < 0)
		return r;
	now = join(d[0].permitted, d[1].permitted);
	permitted = want->permitted & now;
	effective = want->effective & permitted;
	/* The kernel takes inheritable ones from the old permitted or inheritable, and the bounding set,
	 * which is asked about those that are wanted only. */
	inheritable = join(d[0].inheritable, d[1].inheritable);
	inheritable = want->inheritable & (inheritable | (now & bounding_of(want->inheritable)));
	for (unsigned i = 0; i < 2; i++) {
		d[i].effective = (uint32_t)(effective >> (32 * i));
		d[i].permitted = (uint32_t)(permitted >> (32 * i));
		d[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	if (syscall(SYS_capset, &h, d) < 0)
		return -errno;
	return set_ambient(want->ambient & permitted & inheritable);
}
