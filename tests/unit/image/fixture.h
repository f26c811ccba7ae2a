/* fixture.h - small made-up kernels, modules and programs for the tests of src/image. */
#ifndef TESTS_IMAGE_FIXTURE_H
#define TESTS_IMAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/str.h"

#define FIX_RELEASE "6.1.0-0-amd64"

enum fix_note { FIX_NOTE_PVH, FIX_NOTE_OTHER, FIX_NOTE_NONE };

/* An x86-64 ELF executable with one segment to load and one with notes. */
void fix_kernel(struct str *to, enum fix_note note);
/* A module with this .modinfo section ("depends=a,b\0vermagic=...\0", n bytes). */
void fix_module(struct str *to, const char *modinfo, size_t n);
/* The same from its parts. */
void fix_module_for(struct str *to, const char *depends, const char *release);
/* Appends a signature as the kernel's build does. */
void fix_sign(struct str *module, size_t sig_len);
/* A static program; with `interp` one that needs a loader. */
void fix_program(struct str *to, const char *interp);
/* A bzImage around a stream that is already compressed. `trailer`: put `unpacked` behind it. */
void fix_bzimage(struct str *to, const void *stream, size_t n, int trailer, uint32_t unpacked);

/* DIR/name: a bzImage with a gzip'ed fix_kernel(). */
void fix_vmlinuz(const char *dir, const char *name, enum fix_note note);
/* Fills DIR like a /lib/modules/RELEASE that has all modules a build can't do without, and two more. */
void fix_modules(const char *dir);

/* A new directory below /tmp (free()); fix_rmdir() removes it with all in it. */
char *fix_mkdir(void);
void fix_rmdir(const char *dir);
/* Writes DIR/name, making the directories above it. */
void fix_write(const char *dir, const char *name, const void *p, size_t n);
/* Reads DIR/name whole. */
void fix_read(const char *dir, const char *name, struct str *to);

void fix_put16(struct str *s, size_t at, uint16_t v);
void fix_put32(struct str *s, size_t at, uint32_t v);

#endif
