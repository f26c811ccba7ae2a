/* seccomp.h - the container's seccomp profile as BPF for the guest's kernel.
 *
 * The profile is compiled on the host, so that neither text nor libseccomp is needed in the guest.
 * Semantics are runc's: unknown system calls and architectures of other machines are skipped, rules
 * with the default action are dropped, conditions on one argument twice are alternatives, a call newer
 * than all that the profile names gets ENOSYS instead of a refusing default. Always for x86-64 guests.
 *
 * Used by runtime/. Trusts the parsed section's types, not its names. */
#ifndef OCI_SECCOMP_H
#define OCI_SECCOMP_H

#include "base/str.h"
#include "oci/names.h"
#include "oci/spec.h"

struct seccomp_program {
	uint8_t *bpf;   /* array of struct sock_filter, owned */
	size_t len;     /* bytes, a multiple of 8, at most 4096 instructions */
	uint32_t flags; /* SECCOMP_FILTER_FLAG_* */
};

/* 0, -EINVAL for unknown actions, operators, architectures or flags, -ENOTSUP for SCMP_ACT_NOTIFY and
 * listenerPath (a notify descriptor can't leave the VM), -ENOMEM. System calls that libseccomp doesn't
 * know are skipped, and named in one warning (warnings may be NULL). A profile that allows
 * everything gives an empty program. */
int must_check seccomp_compile(const struct spec_seccomp *s, struct seccomp_program *ret,
			       struct strv *warnings, struct err *e);
void seccomp_program_fini(struct seccomp_program *p); /* idempotent */
#define scoped_seccomp __attribute__((cleanup(seccomp_program_fini))) struct seccomp_program

/* The vocabularies, for `features`; values are libseccomp's and the kernel's. */
extern const struct name_table seccomp_actions, seccomp_operators, seccomp_archs, seccomp_flags;

#endif
