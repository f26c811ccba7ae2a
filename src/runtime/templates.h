/* templates.h - whether a new VM is a clone, and the making of templates on demand.
 *
 * Called by create and `cor template`. What a template is and how it is checked: hyper/template.h. */
#ifndef RUNTIME_TEMPLATES_H
#define RUNTIME_TEMPLATES_H

#include "cfg/settings.h"
#include "hyper/template.h"

/* The store of the settings' trust domain; its text lives in `a`. */
int must_check templates_store(const struct settings *s, struct arena *a, struct template_store *ret,
			       struct err *e);
/* Sets vm->template_dir if the settings want clones and there is a good template of the VM's shape;
 * *ret_wanted if one should be made. Trouble with templates is a warning: the VM can boot. */
int must_check templates_plan(const struct settings *s, struct arena *a, struct vmcfg *vm, bool *ret_wanted,
			      struct strv *warnings, struct err *e);
/* Makes a template of this shape in a process of its own: detached, at the lowest priority, with nothing
 * of the caller's open; returns at once. If another is being made it leaves it to the next VM. */
void templates_make_beside(const struct settings *s, const struct vmcfg *vm);

#endif
