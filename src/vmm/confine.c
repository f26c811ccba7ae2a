/* confine.c - see confine.h. Called by each thread of a machine before it looks at anything of the guest. */
#include "vmm/confine.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Made by jail/mkfilter.c. */
extern const struct sock_filter filter_vcpu[];
extern const unsigned short filter_vcpu_len;
extern const struct sock_filter filter_vloop[];
extern const unsigned short filter_vloop_len;

int confine_thread(enum confine_as as, struct err *e)
{
	const union {
		const struct sock_filter *in;
		struct sock_filter *out; /* the kernel's type forgot const */
	} filter = { .in = as == CONFINE_VCPU ? filter_vcpu : filter_vloop };
	const struct sock_fprog prog = { .len = as == CONFINE_VCPU ? filter_vcpu_len : filter_vloop_len,
					 .filter = filter.out };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		return err_set(e, -errno, "system call filter: %m");
	return 0;
}
