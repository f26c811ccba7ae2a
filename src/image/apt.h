/* apt.h - finds and downloads a Debian package with apt-get, without installing it: no hook of the
 * kernel package (initramfs, boot loader) runs on this machine. */
#ifndef IMAGE_APT_H
#define IMAGE_APT_H

#include "base/err.h"
#include "image/ui.h"

/* Zero-initialise. */
struct apt_package {
	char *name, *version; /* owned */
	char *file;           /* owned: what apt-get names the download */
	uint64_t size;
};

void apt_package_fini(struct apt_package *p); /* idempotent */
#define scoped_package __attribute__((cleanup(apt_package_fini))) struct apt_package

/* The newest version that apt's lists know. A metapackage without files (linux-image-amd64) is
 * followed to the linux-image-* that it depends on. */
int must_check apt_find(const char *name, struct apt_package *ret, struct err *e);
/* Downloads into directory `dir` under its final name; apt checks it against the signed lists. */
int must_check apt_download(const struct apt_package *p, const char *dir, struct err *e);

#endif
