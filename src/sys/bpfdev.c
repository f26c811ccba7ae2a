/* bpfdev.c - see bpfdev.h.
 *
 * The program gets a struct bpf_cgroup_dev_ctx: access_type = access << 16 | type, major, minor.
 * Registers: R2 device type, R3 access bits not decided yet, R4 major, R5 minor, R0 scratch and result.
 * Rules run from the last to the first: a matching "allow" takes its bits out of R3 and allows when
 * none is left, a matching "deny" denies when it shares a bit with R3. */
#include "sys/bpfdev.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

struct emit {
	struct bpf_insn *p;
	size_t n;
};

/* struct bpf_insn without its bit fields, which cannot be assigned without a warning. */
struct raw_insn {
	uint8_t code, regs;
	int16_t off;
	int32_t imm;
};
_Static_assert(sizeof(struct raw_insn) == sizeof(struct bpf_insn), "the same layout");

static void put(struct emit *e, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	struct raw_insn i = { .code = code, .regs = (uint8_t)(src << 4 | dst), .off = off, .imm = imm };

	memcpy(&e->p[e->n++], &i, sizeof i);
}

static void put_return(struct emit *e, int32_t value)
{
	put(e, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value);
	put(e, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void put_prologue(struct emit *e)
{
	put(e, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1,
	    offsetof(struct bpf_cgroup_dev_ctx, access_type), 0);
	put(e, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	put(e, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
	put(e, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
	put(e, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major),
	    0);
	put(e, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor),
	    0);
}

/* Our bits to the kernel's. */
static int32_t access_bits(uint32_t a)
{
	return (a & BPFDEV_MKNOD ? BPF_DEVCG_ACC_MKNOD : 0) | (a & BPFDEV_READ ? BPF_DEVCG_ACC_READ : 0) |
	       (a & BPFDEV_WRITE ? BPF_DEVCG_ACC_WRITE : 0);
}

/* "Is this register not that value? Then skip the rule": the distance is filled in at the end. */
static void put_unless(struct emit *e, uint8_t reg, int64_t value)
{
	put(e, BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, 0, (int32_t)(uint32_t)value);
}

static void put_rule(struct emit *e, const struct bpfdev_rule *r)
{
	int32_t bits = access_bits(r->access);
	size_t first = e->n, checks;

	if (r->type != 'a')
		put_unless(e, BPF_REG_2, r->type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK);
	if (r->major >= 0)
		put_unless(e, BPF_REG_4, r->major);
	if (r->minor >= 0)
		put_unless(e, BPF_REG_5, r->minor);
	checks = e->n;
	if (r->allow) {
		put(e, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_3, 0, 0, ~bits);
		put(e, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_3, 0, 2, 0);
		put_return(e, 1);
	} else {
		put(e, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_0, BPF_REG_3, 0, 0);
		put(e, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_0, 0, 0, bits);
		put(e, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, 0);
		put_return(e, 0);
	}
	for (size_t i = first; i < checks; i++)
		e->p[i].off = (int16_t)(e->n - i - 1);
}

static bool rule_ok(const struct bpfdev_rule *r)
{
	return (r->type == 'a' || r->type == 'b' || r->type == 'c') && r->major >= -1 && r->minor >= -1 &&
	       r->major <= UINT32_MAX && r->minor <= UINT32_MAX &&
	       (r->access & ~(uint32_t)(BPFDEV_READ | BPFDEV_WRITE | BPFDEV_MKNOD)) == 0;
}

int bpfdev_compile(const struct bpfdev_rule *rules, size_t n, struct bpf_insn *insns)
{
	struct emit e = { .p = insns };

	if (n > BPFDEV_RULES_MAX)
		return -E2BIG;
	put_prologue(&e);
	for (size_t i = n; i > 0; i--) {
		const struct bpfdev_rule *r = &rules[i - 1];

		if (!rule_ok(r))
			return -EINVAL;
		if (r->access == 0)
			continue;
		put_rule(&e, r);
		/* The last word on everything: earlier rules say nothing any more. */
		if (r->type == 'a' && r->major < 0 && r->minor < 0 &&
		    r->access == (BPFDEV_READ | BPFDEV_WRITE | BPFDEV_MKNOD))
			break;
	}
	put_return(&e, 0);
	return (int)e.n;
}

static int prog_load(const struct bpf_insn *insns, size_t n)
{
	static const char license[] = "GPL";
	union bpf_attr a;
	long fd;

	memset(&a, 0, sizeof a);
	a.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	a.insns = (uint64_t)(uintptr_t)insns;
	a.insn_cnt = (uint32_t)n;
	a.license = (uint64_t)(uintptr_t)license;
	/* EAGAIN: the verifier was interrupted; libbpf retries five times, too. */
	for (int i = 0; i < 5; i++) {
		fd = syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof a);
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

static int prog_link(int cgroup, int prog, int replaced)
{
	union bpf_attr a;

	memset(&a, 0, sizeof a);
	a.target_fd = (uint32_t)cgroup;
	a.attach_bpf_fd = (uint32_t)prog;
	a.attach_type = BPF_CGROUP_DEVICE;
	a.attach_flags = BPF_F_ALLOW_MULTI;
	if (replaced >= 0) {
		a.attach_flags |= BPF_F_REPLACE;
		a.replace_bpf_fd = (uint32_t)replaced;
	}
	return syscall(SYS_bpf, BPF_PROG_ATTACH, &a, sizeof a) < 0 ? -errno : 0;
}

static int compile_new(const struct bpfdev_rule *rules, size_t n, struct bpfdev_prog *ret)
{
	scoped_free struct bpf_insn *insns = NULL;
	int r;

	if (n > BPFDEV_RULES_MAX)
		return -E2BIG;
	insns = calloc(BPFDEV_INSNS(n), sizeof *insns);
	if (!insns)
		return -ENOMEM;
	r = bpfdev_compile(rules, n, insns);
	if (r < 0)
		return r;
	*ret = (struct bpfdev_prog){ .insns = take_ptr(&insns), .n = (size_t)r, .fd = -1 };
	return 0;
}

int bpfdev_load(const struct bpfdev_rule *rules, size_t n, struct bpfdev_prog *ret)
{
	struct bpfdev_prog p;
	int r = compile_new(rules, n, &p);

	if (r < 0)
		return r;
	p.fd = prog_load(p.insns, p.n);
	if (p.fd < 0) {
		free(p.insns);
		return p.fd;
	}
	*ret = p;
	return 0;
}

void bpfdev_prog_fini(struct bpfdev_prog *p)
{
	if (p->insns)
		scope_close(&p->fd);
	free(p->insns);
	*p = (struct bpfdev_prog){ .insns = NULL };
}

static bool is_same(const struct bpfdev_prog *a, const struct bpfdev_prog *b)
{
	return a && a->insns && a->n == b->n && memcmp(a->insns, b->insns, a->n * sizeof *a->insns) == 0;
}

int bpfdev_attach(int cgroup, const struct bpfdev_rule *rules, size_t n, const struct bpfdev_prog *ready,
		  int *prog)
{
	struct bpfdev_prog p;
	scoped_fd fd = -1;
	int r = compile_new(rules, n, &p);

	if (r < 0)
		return r;
	if (is_same(ready, &p)) {
		fd = fcntl(ready->fd, F_DUPFD_CLOEXEC, 3);
		r = fd < 0 ? -errno : 0;
	} else {
		fd = prog_load(p.insns, p.n);
		r = fd < 0 ? fd : 0;
	}
	free(p.insns);
	if (r == 0)
		r = prog_link(cgroup, fd, *prog);
	if (r < 0)
		return r;
	scope_close(prog);
	*prog = take_fd(&fd);
	return 0;
}
