/* validate.h - may this configuration become a container in a VM?
 *
 * The parser (spec.h) has refused what is malformed; here is refused what the spec forbids across
 * sections and what a VM can't honour, naming the field and what to do about it. What is weaker than
 * asked for, but safe, becomes a warning. docs/oci-fields.md is the table of all decisions.
 *
 * Called by runtime/ between parsing and planning. Never touches the file system, but for
 * validate_probe(). */
#ifndef OCI_VALIDATE_H
#define OCI_VALIDATE_H

#include "base/str.h"
#include "oci/spec.h"

/* What the host offers. */
struct validate_host {
	bool selinux; /* enabled: labels can be applied to the VM's processes */
};

/* Looks at the running host. */
void validate_probe(struct validate_host *ret);

/* A whole config.json. Warnings (texts for the log, one line each) are appended to *warnings, which
 * may be NULL. `process` may be missing: spec_validate_start() refuses that. -EINVAL for what the spec
 * forbids, -ENOTSUP for what a VM can't do, -ENOMEM. */
int must_check spec_validate(const struct spec *s, const struct validate_host *host, struct strv *warnings,
			     struct err *e);

/* A process to be run in an existing container (exec). */
int must_check spec_validate_process(const struct spec_process *p, const struct validate_host *host,
				     struct strv *warnings, struct err *e);

/* New limits for an existing container (update). */
int must_check spec_validate_resources(const struct spec_resources *r, struct strv *warnings, struct err *e);

/* Everything `start` needs is there: a process. */
int must_check spec_validate_start(const struct spec *s, struct err *e);

#endif
