/* fuzz_oci.h - what the targets of src/oci share: the promises that spec.h makes about a parsed
 * document, and about the error of one that is refused. */
#ifndef FUZZ_OCI_H
#define FUZZ_OCI_H

#include <errno.h>
#include <linux/sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/str.h"
#include "fuzz.h"
#include "oci/seccomp.h"
#include "oci/spec.h"
#include "oci/validate.h"

/* A refusal says which document, is printable, and left nothing allocated. */
static inline void check_refusal(int r, const struct err *e, const struct spec *s, const char *doc)
{
	size_t n = strlen(e->msg);

	FUZZ_ASSERT(r < 0 && e->code == r);
	FUZZ_ASSERT(r == -EINVAL || r == -EFBIG || r == -ENOMEM || r == -ENOTSUP);
	FUZZ_ASSERT(str_starts(e->msg, doc) && str_starts(e->msg + strlen(doc), ": "));
	for (size_t i = 0; i < n;) {
		size_t len = str_utf8_len(e->msg + i, n - i);

		FUZZ_ASSERT(len > 0);
		i += len;
	}
	if (s)
		FUZZ_ASSERT(!s->mem.blocks && !s->has_process && !s->has_linux && !s->mounts.n);
}

static inline void check_clean(const char *path, bool may_be_root)
{
	scoped_free char *clean = str_clean_path(path);

	FUZZ_ASSERT(clean && path[0] == '/' && strcmp(clean, path) == 0);
	FUZZ_ASSERT(may_be_root || path[1]);
}

static inline void check_strs(const struct spec_strs *v)
{
	for (size_t i = 0; i < v->n; i++)
		FUZZ_ASSERT(v->p[i]);
	FUZZ_ASSERT(v->p ? !v->p[v->n] : v->n == 0);
}

static inline void check_process(const struct spec_process *p)
{
	const struct spec_caps *c = &p->capabilities;
	uint64_t seen = 0;

	FUZZ_ASSERT(p->cwd && p->cwd[0] == '/');
	check_strs(&p->env);
	check_strs(&p->args);
	check_strs(&c->unknown);
	FUZZ_ASSERT((c->bounding | c->effective | c->inheritable | c->permitted | c->ambient) <
		    (uint64_t)1 << 41);
	for (size_t i = 0; i < p->rlimits.n; i++) {
		uint64_t bit = (uint64_t)1 << p->rlimits.p[i].type;

		FUZZ_ASSERT(p->rlimits.p[i].type < 16 && !(seen & bit));
		FUZZ_ASSERT(p->rlimits.p[i].soft <= p->rlimits.p[i].hard);
		seen |= bit;
	}
	FUZZ_ASSERT(p->oom_score_adj >= -1000 && p->oom_score_adj <= 1000);
	FUZZ_ASSERT(p->user.uid != UINT32_MAX && p->user.gid != UINT32_MAX && p->user.umask <= 07777);
	FUZZ_ASSERT(p->console_size.height <= 65535 && p->console_size.width <= 65535);
	FUZZ_ASSERT(!p->selinux_label || *p->selinux_label);
	FUZZ_ASSERT(!p->apparmor_profile || *p->apparmor_profile);
	FUZZ_ASSERT(!p->has_io_priority || (p->io_priority.class >= 1 && p->io_priority.class <= 3));
}

static inline void check_mount(const struct spec_mount *m)
{
	uint64_t type = m->propagation & ~(uint64_t)MS_REC;

	check_clean(m->destination, false);
	FUZZ_ASSERT((m->flags_set & m->flags_clear) == 0);
	FUZZ_ASSERT(((m->flags_set | m->flags_clear) &
		     (MS_BIND | MS_REC | MS_SHARED | MS_SLAVE | MS_PRIVATE)) == 0);
	FUZZ_ASSERT(type == 0 || type == MS_SHARED || type == MS_SLAVE || type == MS_PRIVATE ||
		    type == MS_UNBINDABLE);
	FUZZ_ASSERT(!m->recursive || m->bind);
	FUZZ_ASSERT(!m->data || *m->data);
	check_strs(&m->options);
}

static inline void check_resources(const struct spec_resources *r)
{
	const struct spec_block_io *b = &r->block_io;

	FUZZ_ASSERT(!r->cpu.has_shares || r->cpu.shares);
	FUZZ_ASSERT(!r->cpu.has_quota || r->cpu.quota);
	FUZZ_ASSERT(!r->cpu.has_period || r->cpu.period);
	FUZZ_ASSERT(!r->memory.has_limit || r->memory.limit >= -1);
	FUZZ_ASSERT(!b->has_weight || (b->weight >= 10 && b->weight <= 1000));
	for (size_t i = 0; i < r->devices.n; i++) {
		const struct spec_device_rule *d = &r->devices.p[i];

		FUZZ_ASSERT(d->type == 'a' || d->type == 'b' || d->type == 'c');
		FUZZ_ASSERT(d->access > 0 && d->access <= 7 && d->major >= -1 && d->minor >= -1);
	}
	for (size_t i = 0; i < r->unified.n; i++)
		FUZZ_ASSERT(!strchr(r->unified.p[i].key, '/') && r->unified.p[i].key[0] != '.');
}

static inline void check_linux(const struct spec_linux *l)
{
	uint64_t seen = 0;

	for (size_t i = 0; i < l->namespaces.n; i++) {
		uint64_t type = l->namespaces.p[i].type;

		FUZZ_ASSERT(type && !(type & (type - 1)) && !(seen & type));
		FUZZ_ASSERT(!l->namespaces.p[i].path || l->namespaces.p[i].path[0] == '/');
		seen |= type;
	}
	for (size_t i = 0; i < l->masked_paths.n; i++)
		check_clean(l->masked_paths.p[i], true);
	for (size_t i = 0; i < l->readonly_paths.n; i++)
		check_clean(l->readonly_paths.p[i], true);
	for (size_t i = 0; i < l->devices.n; i++) {
		check_clean(l->devices.p[i].path, false);
		FUZZ_ASSERT(l->devices.p[i].file_mode <= 07777);
	}
	for (size_t i = 0; i < l->uid_mappings.n; i++)
		FUZZ_ASSERT(l->uid_mappings.p[i].size > 0);
	for (size_t i = 0; i < l->sysctl.n; i++) {
		const char *key = l->sysctl.p[i].key;

		/* as a path below /proc/sys ('.' and '/' swapped) it has no empty part and no ".." */
		FUZZ_ASSERT(strchr(key, '.') && key[0] != '.' && !strstr(key, "..") && !strstr(key, "//"));
	}
	check_resources(&l->resources);
}

static inline void check_spec(const struct spec *s)
{
	FUZZ_ASSERT(str_starts(s->oci_version, "1."));
	FUZZ_ASSERT(!s->hostname || *s->hostname);
	FUZZ_ASSERT(!s->has_root || *s->root.path);
	if (s->has_process)
		check_process(&s->process);
	for (size_t i = 0; i < s->mounts.n; i++)
		check_mount(&s->mounts.p[i]);
	for (int k = 0; k < HOOK_KIND_N; k++)
		for (size_t i = 0; i < s->hooks.lists[k].n; i++) {
			FUZZ_ASSERT(s->hooks.lists[k].p[i].path[0] == '/');
			FUZZ_ASSERT(!s->hooks.lists[k].p[i].has_timeout || s->hooks.lists[k].p[i].timeout);
			check_strs(&s->hooks.lists[k].p[i].args);
		}
	for (size_t i = 0; i < s->annotations.n; i++)
		FUZZ_ASSERT(*s->annotations.p[i].key && s->annotations.p[i].value);
	check_linux(&s->lnx);
	FUZZ_ASSERT(!s->vm.kernel_path || s->vm.kernel_path[0] == '/');
	FUZZ_ASSERT(!s->vm.has_vcpus || s->vm.vcpus);
}

/* What runtime/ does with a document: validation and the seccomp compiler, each with its promises. */
static inline void check_use(const struct spec *s)
{
	const struct validate_host host = { 0 };
	struct seccomp_program prog = { 0 };
	struct strv warnings = { 0 };
	struct err e = { 0 };
	int r = spec_validate(s, &host, &warnings, &e);

	if (r < 0)
		check_refusal(r, &e, NULL, "config.json");
	if (r == 0)
		FUZZ_ASSERT(s->has_root && spec_namespace(s, CLONE_NEWNET) &&
			    spec_namespace(s, CLONE_NEWPID));
	if (r == 0 && s->has_process)
		FUZZ_ASSERT(s->process.args.n > 0 && *s->process.args.p[0]);
	for (size_t i = 0; i < warnings.n; i++)
		FUZZ_ASSERT(str_starts(warnings.p[i], "config.json: ") && !strchr(warnings.p[i], '\n'));
	strv_fini(&warnings);
	if (!s->lnx.has_seccomp)
		return;
	memset(&e, 0, sizeof(e));
	r = seccomp_compile(&s->lnx.seccomp, &prog, NULL, &e);
	FUZZ_ASSERT(r == 0 || (e.code == r && e.msg[0] && !prog.bpf));
	FUZZ_ASSERT(prog.len % 8 == 0 && prog.len <= (size_t)4096 * 8);
	seccomp_program_fini(&prog);
}

/* Parses text (n bytes) as each of the documents it could be. */
static inline void check_documents(const char *text, size_t n)
{
	struct spec s;
	struct err e = { 0 };
	int r = spec_parse(text, n, &s, &e);

	if (r < 0) {
		check_refusal(r, &e, &s, "config.json");
	} else {
		check_spec(&s);
		check_use(&s);
	}
	spec_fini(&s);
	r = spec_parse_process(text, n, &s, &e);
	if (r < 0)
		check_refusal(r, &e, &s, "process");
	else
		check_process(&s.process);
	spec_fini(&s);
	r = spec_parse_resources(text, n, &s, &e);
	if (r < 0)
		check_refusal(r, &e, &s, "resources");
	else
		check_resources(&s.lnx.resources);
	spec_fini(&s);
}

#endif
