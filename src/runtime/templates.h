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
/* The VM that a container without limits gets; others are made when they are first needed. */
int must_check templates_default(const struct settings *s, const char *libexecdir, struct arena *a,
				 struct vmcfg *ret, struct err *e);

/* What a create leaves to do. */
struct templates_beside {
	const struct settings *settings;
	const char *libexecdir;
	struct vmcfg *vm;
	bool want_template; /* as templates_plan() said */
};
/* Makes the template that is missing, and fills or drains its pool, in a process of its own (beside.h);
 * returns at once. If another is being made it leaves it to the next VM. */
void templates_beside(struct templates_beside *b);

#endif
