/* Device programs: run by a small interpreter against the rules read literally, and by the kernel
 * where there is a cgroup2 tree. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#include "base/io.h"
#include "sys/bpfdev.h"
#include "sys/cg2.h"

struct ask {
	uint32_t type;   /* BPF_DEVCG_DEV_* */
	uint32_t access; /* BPF_DEVCG_ACC_* */
	uint32_t major, minor;
};

/* The instructions that bpfdev.c uses; anything else fails the test. */
static int interpret(const struct bpf_insn *p, size_t n, const struct ask *q)
{
	uint64_t reg[11] = { 0 };
	struct bpf_cgroup_dev_ctx ctx = { .access_type = q->access << 16 | q->type,
					  .major = q->major,
					  .minor = q->minor };
	size_t steps = 0;

	for (size_t i = 0; i < n && steps < 100000; i++, steps++) {
		const struct bpf_insn *in = &p[i];
		uint64_t *dst = &reg[in->dst_reg], imm = (uint64_t)(int64_t)in->imm;

		switch (in->code) {
		case BPF_LDX | BPF_MEM | BPF_W: {
			uint32_t v;

			assert_int_equal(in->src_reg, BPF_REG_1);
			assert_in_range(in->off, 0, sizeof ctx - 4);
			memcpy(&v, (const char *)&ctx + in->off, 4);
			*dst = v;
			break;
		}
		case BPF_ALU64 | BPF_MOV | BPF_X:
			*dst = reg[in->src_reg];
			break;
		case BPF_ALU64 | BPF_MOV | BPF_K:
			*dst = imm;
			break;
		case BPF_ALU64 | BPF_AND | BPF_K:
			*dst &= imm;
			break;
		case BPF_ALU64 | BPF_RSH | BPF_K:
			*dst >>= imm;
			break;
		case BPF_JMP32 | BPF_JNE | BPF_K:
			if ((uint32_t)*dst != (uint32_t)imm)
				i += (size_t)in->off;
			break;
		case BPF_JMP | BPF_JNE | BPF_K:
			if (*dst != imm)
				i += (size_t)in->off;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			if (*dst == imm)
				i += (size_t)in->off;
			break;
		case BPF_JMP | BPF_EXIT:
			return (int)reg[0];
		default:
			fail_msg("instruction %zu has code %#x", i, in->code);
		}
	}
	fail_msg("the program does not end");
	return -1;
}

/* The rules as the v1 controller means them: each bit is decided by the last rule that names it. */
static int literally(const struct bpfdev_rule *r, size_t n, const struct ask *q)
{
	static const uint32_t bits[] = { BPFDEV_READ, BPFDEV_WRITE, BPFDEV_MKNOD };
	static const uint32_t kernel[] = { BPF_DEVCG_ACC_READ, BPF_DEVCG_ACC_WRITE, BPF_DEVCG_ACC_MKNOD };
	char type = q->type == BPF_DEVCG_DEV_CHAR ? 'c' : 'b';

	for (size_t b = 0; b < 3; b++) {
		bool allowed = false;

		if (!(q->access & kernel[b]))
			continue;
		for (size_t i = 0; i < n; i++)
			if ((r[i].type == 'a' || r[i].type == type) &&
			    (r[i].major < 0 || r[i].major == q->major) &&
			    (r[i].minor < 0 || r[i].minor == q->minor) && r[i].access & bits[b])
				allowed = r[i].allow;
		if (!allowed)
			return 0;
	}
	return 1;
}

static int compile_and_ask(const struct bpfdev_rule *r, size_t n, const struct ask *q)
{
	struct bpf_insn *insns = calloc(BPFDEV_INSNS(n), sizeof *insns);
	int len, got;

	assert_non_null(insns);
	len = bpfdev_compile(r, n, insns);
	assert_in_range(len, 1, BPFDEV_INSNS(n));
	got = interpret(insns, (size_t)len, q);
	free(insns);
	return got;
}

static void lists_mean_what_they_say(void **state)
{
	static const struct bpfdev_rule rules[] = {
		{ -1, -1, 7, 'a', false }, { 1, 3, 7, 'c', true },    { 136, -1, 3, 'c', true },
		{ 8, 0, 1, 'b', true },    { 136, 9, 2, 'c', false },
	};
	static const struct {
		struct ask q;
		int allowed;
	} rows[] = {
		{ { BPF_DEVCG_DEV_CHAR, BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE, 1, 3 }, 1 },
		{ { BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_ACC_READ, 1, 3 }, 0 },
		{ { BPF_DEVCG_DEV_CHAR, BPF_DEVCG_ACC_READ, 1, 5 }, 0 },
		{ { BPF_DEVCG_DEV_CHAR, BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE, 136, 4000000000 }, 1 },
		{ { BPF_DEVCG_DEV_CHAR, BPF_DEVCG_ACC_MKNOD, 136, 5 }, 0 },
		{ { BPF_DEVCG_DEV_CHAR, BPF_DEVCG_ACC_READ, 136, 9 }, 1 },
		{ { BPF_DEVCG_DEV_CHAR, BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE, 136, 9 }, 0 },
		{ { BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_ACC_READ, 8, 0 }, 1 },
		{ { BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_ACC_WRITE, 8, 0 }, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(compile_and_ask(rules, ARRAY_LEN(rules), &rows[i].q), rows[i].allowed);
	assert_int_equal(compile_and_ask(NULL, 0, &rows[0].q), 0);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void random_lists_agree(void **state)
{
	uint32_t seed = 1;

	for (unsigned round = 0; round < 20000; round++) {
		struct bpfdev_rule rules[6];
		size_t n = next_random(&seed) % 7;
		struct ask q = { .type = next_random(&seed) % 2 ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK,
				 .access = 1 + next_random(&seed) % 7,
				 .major = next_random(&seed) % 3,
				 .minor = next_random(&seed) % 3 };

		for (size_t i = 0; i < n; i++)
			rules[i] = (struct bpfdev_rule){ .allow = next_random(&seed) % 2,
							 .type = "abc"[next_random(&seed) % 3],
							 .major = (int64_t)(next_random(&seed) % 4) - 1,
							 .minor = (int64_t)(next_random(&seed) % 4) - 1,
							 .access = next_random(&seed) % 8 };
		assert_int_equal(compile_and_ask(rules, n, &q), literally(rules, n, &q));
	}
}

static void odd_rules_are_refused(void **state)
{
	static const struct bpfdev_rule odd[] = {
		{ -1, -1, 7, 'p', true },
		{ -2, -1, 7, 'c', true },
		{ -1, INT64_C(1) << 32, 7, 'c', true },
		{ -1, -1, 8, 'c', true },
	};
	struct bpf_insn insns[BPFDEV_INSNS(1)];
	int prog = -1;

	for (size_t i = 0; i < ARRAY_LEN(odd); i++)
		assert_int_equal(bpfdev_compile(&odd[i], 1, insns), -EINVAL);
	assert_int_equal(bpfdev_compile(odd, BPFDEV_RULES_MAX + 1, insns), -E2BIG);
	assert_int_equal(bpfdev_attach(-1, odd, BPFDEV_RULES_MAX + 1, NULL, &prog), -E2BIG);
}

/* Two of this test may run at a time. */
static const char *own_name(void)
{
	static char name[64];

	(void)snprintf(name, sizeof name, "cor-test-bpfdev-%d", (int)getpid());
	return name;
}

static int own_cgroup(int *ret_parent)
{
	static const char *const roots[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	int parent, cg;

	for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
		parent = open(roots[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent < 0)
			continue;
		if (faccessat(parent, "cgroup.controllers", F_OK, 0) == 0 &&
		    cg2_make(parent, own_name(), &cg) == 0) {
			*ret_parent = parent;
			return cg;
		}
		close(parent);
	}
	return -1;
}

/* In the cgroup: which of full and zero can be opened. */
static int open_devices(int cg)
{
	int r = 0;

	if (cg2_write(cg, "cgroup.procs", "0") < 0)
		return 100;
	if (open("/dev/full", O_RDONLY | O_CLOEXEC) >= 0)
		r |= 1;
	if (open("/dev/zero", O_RDONLY | O_CLOEXEC) >= 0)
		r |= 2;
	if (open("/dev/zero", O_RDWR | O_CLOEXEC) >= 0)
		r |= 4;
	return r;
}

static int in_cgroup(int cg)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(open_devices(cg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The line of a program's number in what the kernel says about an fd. */
static char *number(int prog)
{
	char path[64], *text = NULL, *line;
	size_t n;

	(void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", prog);
	assert_int_equal(io_read_file_at(AT_FDCWD, path, 4096, &text, &n), 0);
	line = strstr(text, "prog_id:");
	assert_non_null(line);
	line = strndup(line, strcspn(line, "\n"));
	free(text);
	return line;
}

/* One that waits is attached where it is what the rules say, and nowhere else. */
static void expect_ready(int cg, int *prog)
{
	static const struct bpfdev_rule rules[] = { { -1, -1, 7, 'a', false }, { 1, 7, 7, 'c', true } };
	static const struct bpfdev_rule longer[] = { { 5, 1, 7, 'c', true },
						     { -1, -1, 7, 'a', false },
						     { 1, 7, 7, 'c', true } };
	static const struct bpfdev_rule others[] = { { -1, -1, 7, 'a', false }, { 1, 5, 7, 'c', true } };
	struct bpfdev_prog ready = { .insns = NULL };
	char *waits, *got;

	assert_int_equal(bpfdev_attach(cg, others, ARRAY_LEN(others), &ready, prog), 0);
	assert_int_equal(bpfdev_load(rules, ARRAY_LEN(rules), &ready), 0);
	waits = number(ready.fd);
	for (int i = 0; i < 4; i++) {
		bool same = i != 1;

		if (i == 1)
			assert_int_equal(bpfdev_attach(cg, others, ARRAY_LEN(others), &ready, prog), 0);
		else if (i == 2)
			assert_int_equal(bpfdev_attach(cg, longer, ARRAY_LEN(longer), &ready, prog), 0);
		else
			assert_int_equal(bpfdev_attach(cg, rules, ARRAY_LEN(rules), &ready, prog), 0);
		got = number(*prog);
		assert_int_equal(strcmp(got, waits) == 0, same);
		assert_int_equal(in_cgroup(cg), same ? 1 : 6);
		free(got);
	}
	free(waits);
	bpfdev_prog_fini(&ready);
	assert_int_equal(in_cgroup(cg), 1); /* it stays where it is */
}

static void kernel_obeys(void **state)
{
	static const struct bpfdev_rule zero_only[] = { { -1, -1, 7, 'a', false },
							{ 1, 5, BPFDEV_READ, 'c', true } };
	static const struct bpfdev_rule all[] = { { -1, -1, 7, 'a', true } };
	int parent = -1, prog = -1, cg, r;

	if (geteuid() != 0) {
		print_message("# skipped: device programs need root\n");
		skip();
	}
	cg = own_cgroup(&parent);
	if (cg < 0) {
		print_message("# skipped: no writable cgroup2 tree\n");
		skip();
	}
	r = bpfdev_attach(cg, zero_only, ARRAY_LEN(zero_only), NULL, &prog);
	if (r == 0) {
		assert_int_equal(in_cgroup(cg), 2);
		/* The second one takes the first one's place. */
		r = bpfdev_attach(cg, all, ARRAY_LEN(all), NULL, &prog);
		assert_int_equal(r, 0);
		assert_int_equal(in_cgroup(cg), 7);
		expect_ready(cg, &prog);
		close(prog);
	}
	close(cg);
	assert_int_equal(cg2_remove(parent, own_name()), 0);
	close(parent);
	if (r < 0) {
		print_message("# skipped: this kernel refuses device programs: %s\n", strerror(-r));
		skip();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_mean_what_they_say),
		cmocka_unit_test(random_lists_agree),
		cmocka_unit_test(odd_rules_are_refused),
		cmocka_unit_test(kernel_obeys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
