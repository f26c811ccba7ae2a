/* manifest.h - the file that describes a template, and its checks; for template.c and its tests.
 *
 * Lines "name value" in a fixed order; anything else is no manifest. */
#ifndef HYPER_MANIFEST_H
#define HYPER_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/sha256.h"
#include "wire/plan.h"

#define MANIFEST_VERSION 2u
#define MANIFEST_FILE    "manifest"
#define MANIFEST_BOOT    40 /* a boot_id with its NUL, and some */

enum manifest_number {
	MANIFEST_MEMORY,            /* bytes of the memory file, and of the VM */
	MANIFEST_MEMORY_INODE,      /* its number */
	MANIFEST_MEMORY_CHANGED_NS, /* its last change, since 1970 */
	MANIFEST_STATE,             /* the same of the state file */
	MANIFEST_STATE_INODE,
	MANIFEST_STATE_CHANGED_NS,
	MANIFEST_VCPUS,
	MANIFEST_KVM,
	MANIFEST_MADE, /* seconds since 1970 */
	MANIFEST_N
};

struct manifest {
	char key[SHA256_HEX];
	char boot[MANIFEST_BOOT]; /* boot_id of the host */
	uint64_t v[MANIFEST_N];
};

/* True for a template's directory name: 64 hex digits. */
bool manifest_is_key(const char *name);
/* Reads `text` of n bytes (it is changed). 0 or -EBADMSG. */
int must_check manifest_parse(char *text, size_t n, struct manifest *ret);
/* Reads the manifest of template `key` below the directory `store` and holds the files against it;
 * memory: bytes that the VM must have, 0 = any. 0, -ENOENT (no such template), -ESTALE (a check failed);
 * -EMFILE, -ENFILE or -ENOMEM: it could not be checked. */
int must_check manifest_check(int store, const char *key, uint64_t memory, struct manifest *ret);
/* Describes the files in store/dir, whose VM has ended, as template `key`: they become read-only. */
int must_check manifest_write(int store, const char *dir, const char *key, const struct vmcfg *cfg,
			      struct manifest *ret);
/* Marks as used now; and when that was last, in seconds since 1970 (0 = unknown). */
void manifest_touch(int store, const char *key);
int64_t manifest_used(int store, const char *key);
/* Bytes on disk. */
uint64_t manifest_disk(int store, const char *key);

#endif
