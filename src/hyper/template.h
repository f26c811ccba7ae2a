/* template.h - the store of templates: saved VMs, by shape, that a new VM can be a clone of.
 *
 *     DIR/KEY/manifest, memory, state    one template; it appears as a whole, by rename
 *     DIR/KEY.tmp.PID                    one being made; stale unless the lock is held
 *     DIR/lock                           held (flock) by whoever makes a template or cleans up
 *     DIR/kvm                            the KVM probe's verdict (kvm_probe_known())
 *
 * DIR belongs to one trust domain: clones of one template share the pages that none has written. KEY names
 * everything that shapes the VM (hv_ops.shape) but the host and its CPU: no template outlives a boot. How a
 * VM is saved and cloned is the driver's; the files of a template are checked here against the manifest
 * before any use. A template holds no secret and nothing of a container: it is saved before the agent hears
 * its first word. Called by the runtime; the monitor only drops what did not work. Trusts: DIR, which only
 * root can write. Never: keeps a template that fails a check, or blocks on somebody who makes one (except
 * template_make() on demand). */
#ifndef HYPER_TEMPLATE_H
#define HYPER_TEMPLATE_H

#include <stdint.h>

#include "base/sha256.h"
#include "base/str.h"
#include "hyper/hyper.h"

struct template_store {
	const char *dir;   /* absolute; made when it is first needed */
	uint64_t max_size; /* bytes on disk; 0 = no limit */
	int rest_ms;       /* of a maker's VM, see hv_ops.save */
};

/* What a maker does with a template that is whole, before it gets its name; `clone` is the cfg of a clone of
 * it. What fails there is only missing: clones do without. */
struct template_last {
	void (*fn)(const struct vmcfg *clone, void *arg); /* NULL = nothing */
	void *arg;
};

struct template_info {
	char key[SHA256_HEX];
	uint64_t memory; /* bytes of the VM */
	uint32_t vcpus;
	bool kvm;
	uint64_t disk;      /* bytes on disk */
	int64_t made, used; /* seconds since 1970 */
	bool valid;         /* the checks hold now */
};

/* The store's directory, made if it is missing. Who can write there decides what VMs run: -EPERM if others
 * than root can. */
int must_check template_open(const struct template_store *s, int *ret, struct err *e);
/* The key of cfg's shape. */
int must_check template_key(const struct vmcfg *cfg, char ret[SHA256_HEX], struct err *e);
/* Looks for a template of cfg's shape and checks it: 0 and its directory (free()) in *ret, which has
 * been marked as used now. -ENOENT: there is none; -ESTALE: there was a bad one, which is gone now; others
 * with a text. */
int must_check template_find(const struct template_store *s, const struct vmcfg *cfg, char **ret,
			     struct err *e);
/* Makes one: boots a VM of cfg's shape (share and template fields are ignored), saves and checks it,
 * and brings the store below its limit by removing what was not used for longest. 0 also if there
 * is a good one already. wait: wait for another maker; else -EBUSY. */
int must_check template_make(const struct template_store *s, const struct vmcfg *cfg, int boot_timeout_ms,
			     bool wait, struct template_last last, struct err *e);
/* Removes one by its directory, as template_find() gave it, if that is still the directory that was opened
 * as `used` before anything of it was (borrowed; -1: nothing is removed): another one has its name after a
 * while. VMs that were cloned from it go on. */
void template_drop(const char *dir, int used);
/* Removes one by its key; -ENOENT. */
int must_check template_remove(const struct template_store *s, const char *key, struct err *e);
/* Removes what crashed makers left, what fails its checks, and what is over the limit. */
int must_check template_gc(const struct template_store *s, struct err *e);
/* All templates, the last used first; *ret free(). */
int must_check template_list(const struct template_store *s, struct template_info **ret, size_t *ret_n,
			     struct err *e);

#endif
