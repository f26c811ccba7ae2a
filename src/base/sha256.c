/* sha256.c - see sha256.h. Called by cor-image for every file that it reads or writes, and for a template's
 * state at each start of a container. Takes any bytes; trusts nothing about them; never allocates. */
#include "base/sha256.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
/* The static programs are built without the compiler's headers; none of them hashes much. */
#if defined(__x86_64__) && __has_include(<immintrin.h>)
#include <cpuid.h>
#include <immintrin.h>
#define HAS_INTRINSICS 1
#else
#define HAS_INTRINSICS 0
#endif

#include "base/io.h"

static const uint32_t round_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotr(uint32_t v, unsigned n)
{
	return v >> n | v << (32 - n);
}

static uint32_t load_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}

static void store_be32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

/* Working word n in round i, of the eight: they turn, nothing is moved. */
#define V(n) v[((n)-i) & 7]

static void do_block(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64], v[8];

	for (size_t i = 0; i < 16; i++)
		w[i] = load_be32(p + 4 * i);
	for (int i = 16; i < 64; i++) {
		uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3;
		uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10;

		w[i] = w[i - 16] + s0 + w[i - 7] + s1;
	}
	memcpy(v, h, sizeof(v));
#pragma GCC unroll 8
	for (unsigned i = 0; i < 64; i++) {
		uint32_t s1 = rotr(V(4), 6) ^ rotr(V(4), 11) ^ rotr(V(4), 25);
		uint32_t ch = (V(4) & V(5)) ^ (~V(4) & V(6));
		uint32_t t1 = V(7) + s1 + ch + round_k[i] + w[i];
		uint32_t s0 = rotr(V(0), 2) ^ rotr(V(0), 13) ^ rotr(V(0), 22);
		uint32_t maj = (V(0) & V(1)) ^ (V(0) & V(2)) ^ (V(1) & V(2));

		V(3) += t1;
		V(7) = t1 + s0 + maj;
	}
	for (int i = 0; i < 8; i++)
		h[i] += v[i];
}

static void do_blocks(uint32_t h[8], const uint8_t *p, size_t n)
{
	for (; n > 0; n--, p += 64)
		do_block(h, p);
}

#if HAS_INTRINSICS
/* The same by the processor's instructions, ten times as quick. They keep the state in two halves, and do two
 * rounds each (Intel SDM, volume 2: SHA256RNDS2, SHA256MSG1, SHA256MSG2). */
__attribute__((target("sha,sse4.1"))) static void do_blocks_by_cpu(uint32_t h[8], const uint8_t *p, size_t n)
{
	const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
	__m128i abef = _mm_set_epi32((int)h[0], (int)h[1], (int)h[4], (int)h[5]);
	__m128i cdgh = _mm_set_epi32((int)h[2], (int)h[3], (int)h[6], (int)h[7]);
	uint32_t out[8];

	for (; n > 0; n--, p += 64) {
		const __m128i abef_was = abef, cdgh_was = cdgh;
		__m128i w[16];

		for (size_t i = 0; i < 16; i++) {
			__m128i k = _mm_loadu_si128((const __m128i *)(round_k + 4 * i));

			if (i < 4)
				w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * i)),
							big_endian);
			else
				w[i] = _mm_sha256msg2_epu32(
					_mm_add_epi32(_mm_sha256msg1_epu32(w[i - 4], w[i - 3]),
						      _mm_alignr_epi8(w[i - 1], w[i - 2], 4)),
					w[i - 1]);
			k = _mm_add_epi32(k, w[i]);
			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, k);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(k, 0x0e));
		}
		abef = _mm_add_epi32(abef, abef_was);
		cdgh = _mm_add_epi32(cdgh, cdgh_was);
	}
	_mm_storeu_si128((__m128i *)out, abef);
	_mm_storeu_si128((__m128i *)(out + 4), cdgh);
	for (size_t i = 0; i < 2; i++) {
		h[i] = out[3 - i];
		h[2 + i] = out[7 - i];
		h[4 + i] = out[1 - i];
		h[6 + i] = out[5 - i];
	}
}

static bool cpu_can(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSSE3) && (c & bit_SSE4_1) &&
	       __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}
#else
static void do_blocks_by_cpu(uint32_t h[8], const uint8_t *p, size_t n)
{
	do_blocks(h, p, n);
}

static bool cpu_can(void)
{
	return false;
}
#endif

void sha256_init_portable(struct sha256 *s)
{
	*s = (struct sha256){ .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
				     0x1f83d9ab, 0x5be0cd19 } };
}

void sha256_init(struct sha256 *s)
{
	sha256_init_portable(s);
	s->by_cpu = cpu_can();
}

static void take(struct sha256 *s, const uint8_t *p, size_t n_blocks)
{
	if (s->by_cpu)
		do_blocks_by_cpu(s->h, p, n_blocks);
	else
		do_blocks(s->h, p, n_blocks);
}

void sha256_add(struct sha256 *s, const void *p, size_t n)
{
	const uint8_t *b = (const uint8_t *)p;
	size_t have = (size_t)(s->total % sizeof(s->block));

	s->total += n;
	if (have) {
		size_t more = sizeof(s->block) - have;

		if (more > n)
			more = n;
		memcpy(s->block + have, b, more);
		if (have + more < sizeof(s->block))
			return;
		take(s, s->block, 1);
		b += more;
		n -= more;
	}
	take(s, b, n / sizeof(s->block));
	b += n - n % sizeof(s->block);
	n %= sizeof(s->block);
	if (n)
		memcpy(s->block, b, n);
}

void sha256_done(struct sha256 *s, uint8_t ret[SHA256_LEN])
{
	static const uint8_t pad[64] = { 0x80 };
	uint64_t bits = s->total * 8;
	size_t have = (size_t)(s->total % 64);
	uint8_t len[8];

	sha256_add(s, pad, have < 56 ? 56 - have : 120 - have);
	store_be32(len, (uint32_t)(bits >> 32));
	store_be32(len + 4, (uint32_t)bits);
	sha256_add(s, len, sizeof(len));
	for (size_t i = 0; i < 8; i++)
		store_be32(ret + 4 * i, s->h[i]);
}

void sha256_to_hex(const uint8_t digest[SHA256_LEN], char ret[SHA256_HEX])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < SHA256_LEN; i++) {
		ret[2 * i] = digits[digest[i] >> 4];
		ret[2 * i + 1] = digits[digest[i] & 15];
	}
	ret[SHA256_HEX - 1] = '\0';
}

void sha256_hex(const void *p, size_t n, char ret[SHA256_HEX])
{
	uint8_t digest[SHA256_LEN];
	struct sha256 s;

	sha256_init(&s);
	sha256_add(&s, p, n);
	sha256_done(&s, digest);
	sha256_to_hex(digest, ret);
}

int sha256_fd_hex(int fd, char ret[SHA256_HEX])
{
	uint8_t digest[SHA256_LEN], chunk[16384];
	struct sha256 s;

	sha256_init(&s);
	for (;;) {
		ssize_t n = io_read_full(fd, chunk, sizeof(chunk));

		if (n < 0)
			return (int)n;
		sha256_add(&s, chunk, (size_t)n);
		if ((size_t)n < sizeof(chunk))
			break;
	}
	sha256_done(&s, digest);
	sha256_to_hex(digest, ret);
	return 0;
}
