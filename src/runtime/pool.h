/* pool.h - how many VMs wait, and their making. What a waiting VM is: hyper/pool.h.
 *
 * Called by create and `cor pool`. */
#ifndef RUNTIME_POOL_H
#define RUNTIME_POOL_H

#include "cfg/settings.h"
#include "hyper/pool.h"
#include "oci/spec.h"
#include "runtime/templates.h"

/* True if a container may be given a VM that waited. Those that ask for something that a process is given
 * when it starts (images too), or for hooks in the VM's mount namespace, get one of their own. */
bool pool_suits(const struct settings *s, const struct spec *spec, const struct vmcfg *vm);

/* Starts VMs of vm's template until settings->pool of them wait, one after the other. If another process does
 * that just now: wait, or leave it to that one (0). */
int must_check pool_fill(const struct settings *s, const char *libexecdir, const struct vmcfg *vm, bool wait,
			 struct err *e);
/* Who keeps VMs, and by which programs. */
struct pool_host {
	const struct settings *settings;
	const char *libexecdir;
};
/* Lets a clone of a template rehearse once, so that the next ones start with the pages at hand that they will
 * write (wire/hotpages.h), and waits for its end. arg: a struct pool_host. For struct template_last. */
void pool_learn(const struct vmcfg *vm, void *arg);
/* Ends all that wait for this template, and removes what the pool has made there. */
int must_check pool_drain(const struct settings *s, const char *template_dir, struct err *e);
/* What a create leaves to do: fills the pool of vm's template, or drains it if the settings want none. True
 * if there is something to do. */
bool pool_wants(const struct settings *s, const struct vmcfg *vm);

#endif
