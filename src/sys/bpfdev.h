/* bpfdev.h - device rules of a cgroup (v2) as a BPF_PROG_TYPE_CGROUP_DEVICE program, made without a
 * compiler or libbpf. Called by the agent for a container's cgroup.
 *
 * Rules have the meaning of the v1 device controller: each in turn allows or denies some kinds of
 * access to some devices, a later one overrides an earlier one, and what no rule names is denied. */
#ifndef SYS_BPFDEV_H
#define SYS_BPFDEV_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/scope.h"

enum bpfdev_access { BPFDEV_READ = 1, BPFDEV_WRITE = 2, BPFDEV_MKNOD = 4 };

struct bpfdev_rule {
	int64_t major, minor; /* -1 = any */
	uint32_t access;      /* bits of enum bpfdev_access */
	char type;            /* 'a' = both, 'c', 'b' */
	bool allow;
};

#define BPFDEV_RULES_MAX 1024
/* Instructions that n rules need at most. */
#define BPFDEV_INSNS(n) ((size_t)(n)*10 + 16)

/* Compiles into insns[BPFDEV_INSNS(n)]; returns the number of instructions. -EINVAL: a rule with
 * another type or unknown access bits, -E2BIG: too many. */
int must_check bpfdev_compile(const struct bpfdev_rule *rules, size_t n, struct bpf_insn *insns);

/* A program that waits for a cgroup; all zero: there is none. */
struct bpfdev_prog {
	struct bpf_insn *insns;
	size_t n;
	int fd;
};

/* Compiles and loads; bpfdev_prog_fini() afterwards. */
int must_check bpfdev_load(const struct bpfdev_rule *rules, size_t n, struct bpfdev_prog *ret);
void bpfdev_prog_fini(struct bpfdev_prog *p);
/* Compiles, loads and attaches to the cgroup (an fd of its directory), in place of the program
 * *prog (-1 = none yet), which it closes; *prog is then the new one. `ready` (NULL = none): a program that is
 * attached instead, if it is the same, and stays the caller's. */
int must_check bpfdev_attach(int cgroup, const struct bpfdev_rule *rules, size_t n,
			     const struct bpfdev_prog *ready, int *prog);

#endif
