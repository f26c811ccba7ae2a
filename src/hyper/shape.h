/* shape.h - what drivers' hv_ops.shape have in common. */
#ifndef HYPER_SHAPE_H
#define HYPER_SHAPE_H

#include "base/err.h"
#include "base/str.h"
#include "wire/plan.h"

/* Appends what tells these files (NULL = none) from any others, later versions of themselves too. */
int must_check hv_shape_files(const char *const *files, size_t n, struct str *to, struct err *e);
/* The file that is the mini-OS; NULL: the plan has none. */
const char *hv_shape_os(const struct vmcfg *cfg);
/* Appends the sizes of the layers and of the disk: any others of the same sizes can stand in their places. */
void hv_shape_layers(const struct vmcfg *cfg, struct str *to);
/* Appends the arguments; -ENOMEM also if some before failed. */
int must_check hv_shape_args(const struct strv *args, struct str *to, struct err *e);

#endif
