/* seccomp.c - see seccomp.h. Everything goes through libseccomp; the program comes back through a
 * memfd, the one way out that libseccomp 2.5 has.
 *
 * Trusts the parser for types. Never loads a filter. */
#include "oci/seccomp.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/io.h"
#include "oci/text.h"

/* clang-format off */
static const struct name actions[] = { /* SCMP_ACT_NOTIFY is left out: see seccomp.h */
	{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW }, { "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0) },
	{ "SCMP_ACT_KILL", SCMP_ACT_KILL }, { "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
	{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD }, { "SCMP_ACT_LOG", SCMP_ACT_LOG },
	{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0) }, { "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
};

static const struct name operators[] = {
	{ "SCMP_CMP_EQ", SCMP_CMP_EQ }, { "SCMP_CMP_GE", SCMP_CMP_GE }, { "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE }, { "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ }, { "SCMP_CMP_NE", SCMP_CMP_NE },
};

/* What an x86-64 kernel can report. */
static const struct name archs[] = {
	{ "SCMP_ARCH_X32", SCMP_ARCH_X32 }, { "SCMP_ARCH_X86", SCMP_ARCH_X86 },
	{ "SCMP_ARCH_X86_64", SCMP_ARCH_X86_64 },
};

static const struct name flags[] = {
	{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
	{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
};
/* clang-format on */

const struct name_table seccomp_actions = { "an action", actions, ARRAY_LEN(actions) };
const struct name_table seccomp_operators = { "an operator", operators, ARRAY_LEN(operators) };
const struct name_table seccomp_archs = { "an architecture of this machine", archs, ARRAY_LEN(archs) };
const struct name_table seccomp_flags = { "a filter flag", flags, ARRAY_LEN(flags) };

/* Architectures of the spec that never occur in an x86-64 guest: skipped. */
static const char *const foreign_archs[] = {
	"SCMP_ARCH_ARM",         "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",
	"SCMP_ARCH_MIPS64N32",   "SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32",
	"SCMP_ARCH_PPC",         "SCMP_ARCH_PPC64",   "SCMP_ARCH_PPC64LE",  "SCMP_ARCH_S390",
	"SCMP_ARCH_S390X",       "SCMP_ARCH_PARISC",  "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",
	"SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",    "SCMP_ARCH_SH",       "SCMP_ARCH_SHEB",
};

#define AT "config.json: linux.seccomp."

/* __X32_SYSCALL_BIT of the kernel. */
#define X32_BIT 0x40000000u

/* Real profiles have a few hundred; libseccomp's time grows with the square. */
#define RULES_MAX 8192u
/* More unknown names than these are only counted. */
#define SKIPPED_SHOWN_MAX 16u

struct compiler {
	scmp_filter_ctx ctx;
	uint32_t default_action;
	struct strv skipped; /* unknown system calls, the first ones */
	size_t rules;
	struct err *e;
};

static void release_ctx(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

#define NAME_SHOWN_MAX 60u

static int unknown(struct compiler *c, const char *member, const char *name, const struct name_table *t)
{
	scoped_str known = { 0 }, shown = { 0 };

	text_add(&shown, name, NAME_SHOWN_MAX);
	names_list(t, &known);
	return err_set(c->e, -EINVAL, AT "%s: \"%s\" is not %s; known: %s", member, shown.p ? shown.p : "",
		       t->what, known.p ? known.p : "?");
}

/* ERRNO and TRACE carry a number, EPERM unless one is given. */
static int action_of(struct compiler *c, const char *member, const char *name, bool has_errno,
		     uint32_t errno_ret, uint32_t *ret)
{
	const struct name *row = names_find(&seccomp_actions, name);
	uint32_t value;

	if (strcmp(name, "SCMP_ACT_NOTIFY") == 0)
		return err_set(c->e, -ENOTSUP,
			       AT "%s: SCMP_ACT_NOTIFY is not supported: its descriptor can't leave the VM",
			       member);
	if (!row)
		return unknown(c, member, name, &seccomp_actions);
	value = (uint32_t)row->value;
	if (value == SCMP_ACT_ERRNO(0) || value == SCMP_ACT_TRACE(0))
		value |= has_errno ? errno_ret : EPERM;
	else if (has_errno && errno_ret != 0)
		return err_set(c->e, -EINVAL, AT "%s: %s takes no errnoRet", member, name);
	*ret = value;
	return 0;
}

static int add_archs(struct compiler *c, const struct spec_seccomp *s)
{
	for (size_t i = 0; i < s->architectures.n; i++) {
		const char *name = s->architectures.p[i];
		const struct name *row = names_find(&seccomp_archs, name);
		bool foreign = false;
		int r;

		for (size_t k = 0; !row && k < ARRAY_LEN(foreign_archs); k++)
			foreign = foreign || strcmp(foreign_archs[k], name) == 0;
		if (foreign)
			continue;
		if (!row)
			return unknown(c, "architectures", name, &seccomp_archs);
		r = seccomp_arch_add(c->ctx, (uint32_t)row->value);
		if (r < 0 && r != -EEXIST)
			return err_set(c->e, r, AT "architectures: %s: %m", name);
	}
	return 0;
}

static int read_args(struct compiler *c, const struct spec_seccomp_rule *rule, const char *member,
		     struct scmp_arg_cmp *cmp, bool *twice)
{
	unsigned seen = 0;

	*twice = false;
	for (size_t i = 0; i < rule->args.n; i++) {
		const struct spec_seccomp_arg *a = &rule->args.p[i];
		const struct name *op = names_find(&seccomp_operators, a->op);

		if (!op)
			return unknown(c, member, a->op, &seccomp_operators);
		*twice = *twice || (seen & 1u << a->index);
		seen |= 1u << a->index;
		cmp[i] = (struct scmp_arg_cmp){ .arg = a->index,
						.op = (enum scmp_compare)op->value,
						.datum_a = a->value,
						.datum_b = a->value_two };
	}
	return 0;
}

static int add_call(struct compiler *c, const char *name, uint32_t action, const struct scmp_arg_cmp *cmp,
		    size_t n, bool twice)
{
	int nr = seccomp_syscall_resolve_name(name), r = 0;

	if (nr == __NR_SCMP_ERROR) {
		if (c->skipped.n <= SKIPPED_SHOWN_MAX && !strv_has(&c->skipped, name))
			strv_add(&c->skipped, name);
		return 0;
	}
	if (++c->rules > RULES_MAX)
		return -E2BIG;
	if (!twice)
		return seccomp_rule_add_array(c->ctx, action, nr, (unsigned)n, cmp);
	/* libseccomp takes an argument once per rule; the spec's list then means alternatives, as in runc */
	for (size_t i = 0; i < n && r >= 0; i++)
		r = seccomp_rule_add_array(c->ctx, action, nr, 1, &cmp[i]);
	return r;
}

static int add_rule(struct compiler *c, const struct spec_seccomp_rule *rule, size_t index)
{
	scoped_free struct scmp_arg_cmp *cmp = calloc(rule->args.n + 1, sizeof(*cmp));
	uint32_t action = 0;
	char member[48];
	bool twice;
	int r;

	(void)snprintf(member, sizeof(member), "syscalls[%zu]", index);
	if (!cmp)
		return err_set(c->e, -ENOMEM, AT "%s: %m", member);
	r = action_of(c, member, rule->action, rule->has_errno_ret, rule->errno_ret, &action);
	if (r < 0)
		return r;
	r = read_args(c, rule, member, cmp, &twice);
	if (r < 0)
		return r;
	if (action == c->default_action)
		return 0; /* says nothing, and libseccomp refuses it */
	for (size_t i = 0; i < rule->names.n; i++) {
		r = add_call(c, rule->names.p[i], action, cmp, rule->args.n, twice);
		if (r < 0)
			return err_set(c->e, r, AT "%s: %.60s: %m", member, rule->names.p[i]);
	}
	return 0;
}

static int export_program(struct compiler *c, struct seccomp_program *ret)
{
	scoped_fd fd = memfd_create("seccomp", MFD_CLOEXEC);
	scoped_free char *bpf = NULL;
	size_t len = 0;
	int r;

	if (fd < 0)
		return err_set(c->e, -errno, "linux.seccomp: memfd_create: %m");
	r = seccomp_export_bpf(c->ctx, fd);
	if (r < 0)
		return err_set(c->e, r, "linux.seccomp: the profile can't be compiled: %m");
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_set(c->e, -errno, "linux.seccomp: %m");
	r = io_read_all(fd, BPF_MAXINSNS * sizeof(struct sock_filter), &bpf, &len);
	if (r == -EFBIG)
		return err_set(c->e, -E2BIG,
			       AT "syscalls: the profile compiles to more than the %d instructions that "
				  "the kernel takes",
			       BPF_MAXINSNS);
	if (r < 0)
		return err_set(c->e, r, "linux.seccomp: %m");
	ret->bpf = (uint8_t *)take_ptr(&bpf);
	ret->len = len;
	return 0;
}

/* The highest number among the profile's system calls on one architecture; 0 = none. */
static uint32_t newest_call(const struct spec_seccomp *s, uint32_t arch)
{
	int max = 0;

	for (size_t i = 0; i < s->syscalls.n; i++)
		for (size_t k = 0; k < s->syscalls.p[i].names.n; k++) {
			int nr = seccomp_syscall_resolve_name_arch(arch, s->syscalls.p[i].names.p[k]);

			if (nr > max)
				max = nr;
		}
	return (uint32_t)max;
}

#define STUB_LEN 10u

/* A call that is newer than everything the profile names can't have been meant by its default: as runc
 * does, such a call gets ENOSYS, so that a C library falls back to an older one. In front of the filter:
 * x86-64 numbers (x32 ones are the filter's), then i386 numbers. */
static int prepend_stub(struct compiler *c, const struct spec_seccomp *s, struct seccomp_program *p)
{
	const uint32_t max_64 = newest_call(s, SCMP_ARCH_X86_64), max_32 = newest_call(s, SCMP_ARCH_X86);
	const uint32_t enosys = SECCOMP_RET_ERRNO | ENOSYS, nr = offsetof(struct seccomp_data, nr);
	const struct sock_filter stub[STUB_LEN] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SCMP_ARCH_X86_64, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 6, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, max_64, 0, 5),
		BPF_STMT(BPF_RET | BPF_K, enosys),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SCMP_ARCH_X86, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, nr),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, max_32, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, enosys),
	};
	uint8_t *all;

	if (!p->bpf || p->len + sizeof(stub) > BPF_MAXINSNS * sizeof(stub[0]))
		return 0; /* no room: the profile's default stands */
	all = malloc(sizeof(stub) + p->len);
	if (!all)
		return err_set(c->e, -ENOMEM, AT "syscalls: %m");
	memcpy(all, stub, sizeof(stub));
	memcpy(all + sizeof(stub), p->bpf, p->len);
	free(p->bpf);
	p->bpf = all;
	p->len += sizeof(stub);
	return 0;
}

/* Only a default that refuses needs the stub. */
static bool needs_stub(const struct compiler *c)
{
	return c->rules > 0 && c->default_action != SCMP_ACT_ALLOW && c->default_action != SCMP_ACT_LOG &&
	       c->default_action != SCMP_ACT_ERRNO(ENOSYS) &&
	       c->default_action >> 16 != SCMP_ACT_TRACE(0) >> 16;
}

static int read_flags(struct compiler *c, const struct spec_seccomp *s, uint32_t *ret)
{
	uint32_t all = 0;

	for (size_t i = 0; i < s->flags.n; i++) {
		const struct name *row = names_find(&seccomp_flags, s->flags.p[i]);

		if (!row)
			return unknown(c, "flags", s->flags.p[i], &seccomp_flags);
		all |= (uint32_t)row->value;
	}
	/* runc's choice for a profile that says nothing: don't slow the container down */
	*ret = s->has_flags ? all : SECCOMP_FILTER_FLAG_SPEC_ALLOW;
	return 0;
}

static void warn_skipped(const struct compiler *c, struct strv *warnings)
{
	scoped_str list = { 0 };

	if (!warnings || c->skipped.n == 0)
		return;
	for (size_t i = 0; i < c->skipped.n && i < SKIPPED_SHOWN_MAX; i++) {
		str_add(&list, i ? ", " : "");
		text_add(&list, c->skipped.p[i], NAME_SHOWN_MAX);
	}
	if (c->skipped.n > SKIPPED_SHOWN_MAX)
		str_add(&list, " and more");
	strv_addf(warnings, AT "syscalls: not known and skipped: %s", list.p ? list.p : "?");
}

static int compile(struct compiler *c, const struct spec_seccomp *s, struct seccomp_program *ret)
{
	scmp_filter_ctx ctx __attribute__((cleanup(release_ctx))) = seccomp_init(c->default_action);
	int r;

	if (!ctx)
		return err_set(c->e, -ENOMEM, "linux.seccomp: libseccomp can't start");
	c->ctx = ctx;
	r = add_archs(c, s);
	for (size_t i = 0; r >= 0 && i < s->syscalls.n; i++)
		r = add_rule(c, &s->syscalls.p[i], i);
	if (r < 0)
		return r;
	if (c->rules == 0 && c->default_action == SCMP_ACT_ALLOW)
		return 0;
	r = export_program(c, ret);
	return r < 0 || !needs_stub(c) ? r : prepend_stub(c, s, ret);
}

int seccomp_compile(const struct spec_seccomp *s, struct seccomp_program *ret, struct strv *warnings,
		    struct err *e)
{
	struct compiler c = { .e = e };
	scoped_seccomp p = { 0 };
	int r;

	if (s->listener_path)
		return err_set(e, -ENOTSUP,
			       AT "listenerPath: is not supported: a notify descriptor can't leave the VM");
	r = read_flags(&c, s, &p.flags);
	if (r < 0)
		return r;
	r = action_of(&c, "defaultAction", s->default_action, s->has_default_errno_ret, s->default_errno_ret,
		      &c.default_action);
	if (r < 0)
		return r;
	r = compile(&c, s, &p);
	if (r >= 0)
		warn_skipped(&c, warnings);
	strv_fini(&c.skipped);
	if (r < 0)
		return r;
	*ret = p;
	p = (struct seccomp_program){ 0 };
	return 0;
}

void seccomp_program_fini(struct seccomp_program *p)
{
	free(p->bpf);
	*p = (struct seccomp_program){ 0 };
}
