/* elf.h - the few things this builder must know about ELF files: is this a kernel that a hypervisor
 * can enter directly, and what a module says about itself. Input is untrusted bytes in memory. */
#ifndef IMAGE_ELF_H
#define IMAGE_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

bool elf_is(const void *p, size_t n); /* starts as any ELF file does */

/* 0 if the bytes are an x86-64 ELF kernel with a PVH entry point (the Xen note 18, which QEMU and
 * others need to start a kernel without a boot loader), its segments inside the file. Else -ENOEXEC. */
int must_check elf_check_kernel(const void *p, size_t n, struct err *e);

/* In place: what a checked kernel's segments end with in zero pages becomes memory that a loader clears
 * anyway, and what no segment needs is cut off. A third of a stock kernel, which every VM would read. */
int must_check elf_trim_kernel(void *p, size_t *n, struct err *e);

/* Checks that the bytes are a static x86-64 program (a guest's /init has no loader and no libraries),
 * then cuts off, in place, what is never loaded: symbols and debug information. -ENOEXEC. */
int must_check elf_take_program(void *p, size_t *n, struct err *e);

/* The .modinfo section of an x86-64 module: KEY=VALUE strings, each with its NUL. Borrowed. */
struct modinfo {
	const char *p;
	size_t n;
};

int must_check elf_modinfo(const void *p, size_t n, struct modinfo *ret, struct err *e);
/* The first value of a key, borrowed and NUL-terminated, or NULL. */
const char *modinfo_get(const struct modinfo *m, const char *key);

/* In place: takes the first letter off the section's name, so that a loader that looks for it by name does
 * not find it. What refers to its content still does. Nothing happens where there is none. */
void elf_hide_section(void *p, size_t n, const char *name);

/* Length without the signature that `make modules_sign` appends; n if there is none. */
size_t elf_unsigned_len(const void *p, size_t n);

#endif
