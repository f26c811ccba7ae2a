/* outdir.h - a directory that is replaced as a whole: written beside its place, then swapped in. */
#ifndef IMAGE_OUTDIR_H
#define IMAGE_OUTDIR_H

#include <stddef.h>

#include "base/err.h"

/* Zero-initialise, then outdir_open(). */
struct outdir {
	char *path;               /* owned: the place */
	char *staging;            /* owned: PATH.new */
	int fd;                   /* of the staging directory, locked; -1 = none */
	const char *const *names; /* borrowed: the files it may hold, NULL-terminated */
};

/* Makes (or takes over from a build that died) PATH.new and locks it; waits for a build that runs.
 * PATH may be missing, empty or hold nothing but `names`: anything else is -ENOTEMPTY, so that no
 * directory of the user's is ever swapped away. */
int must_check outdir_open(struct outdir *d, const char *path, const char *const *names, struct err *e);
/* Makes it durable and swaps it in; the old files are removed. */
int must_check outdir_commit(struct outdir *d, struct err *e);
/* Without a commit before: removes the staging directory. Idempotent. */
void outdir_fini(struct outdir *d);
#define scoped_outdir __attribute__((cleanup(outdir_fini))) struct outdir

#endif
