/* sha256.h - SHA-256 (FIPS 180-4) of bytes and files: names for content, not a secret's guard.
 * cor-image names inputs and outputs by it. No allocation; single thread per struct. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/scope.h"

#define SHA256_LEN 32
#define SHA256_HEX (2 * SHA256_LEN + 1) /* with the NUL */

struct sha256 {
	uint32_t h[8];
	uint64_t total; /* bytes taken so far */
	uint8_t block[64];
	bool by_cpu; /* by the processor's own instructions */
};

void sha256_init(struct sha256 *s);
/* The same for any processor: for tests. */
void sha256_init_portable(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *p, size_t n);
/* The struct must be initialised again before another use. */
void sha256_done(struct sha256 *s, uint8_t ret[SHA256_LEN]);

/* The digest of n bytes as lower-case hex digits and a NUL. */
void sha256_hex(const void *p, size_t n, char ret[SHA256_HEX]);
/* Digest to hex digits and a NUL. */
void sha256_to_hex(const uint8_t digest[SHA256_LEN], char ret[SHA256_HEX]);
/* The digest of what fd holds from its offset to its end, as hex; 0 or -errno of read(2). */
int must_check sha256_fd_hex(int fd, char ret[SHA256_HEX]);

#endif
