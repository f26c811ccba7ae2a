/* fuzz_image.c - what cor-image reads: bzImage headers, ELF kernels, modules and programs, manifests.
 * The first byte chooses. Promises: what is found lies inside the file; a kernel that was trimmed is
 * still one and is not trimmed again; a manifest that was read is written as it was read. */
#include <ctype.h>
#include <errno.h>

#include "fuzz.h"
#include "image/bzimage.h"
#include "image/elf.h"
#include "image/manifest.h"

static void fuzz_bzimage(const uint8_t *p, size_t n)
{
	struct bzimage b;

	if (bzimage_parse(p, n, &b, NULL) < 0)
		return;
	FUZZ_ASSERT(b.payload >= p && b.len <= n && (size_t)(b.payload - p) <= n - b.len);
	FUZZ_ASSERT(memcmp(b.payload, b.packer->magic, b.packer->magic_len) == 0);
	FUZZ_ASSERT(b.unpacked && b.unpacked <= BZIMAGE_UNPACKED_MAX);
	FUZZ_ASSERT(b.release[0] != '.');
	for (const char *s = b.release; *s; s++)
		FUZZ_ASSERT(*s != '/' && isgraph((unsigned char)*s));
}

static void fuzz_kernel(uint8_t *p, size_t n)
{
	size_t trimmed = n, again;

	if (elf_trim_kernel(p, &trimmed, NULL) < 0)
		return;
	FUZZ_ASSERT(trimmed <= n);
	FUZZ_ASSERT(elf_check_kernel(p, trimmed, NULL) == 0);
	again = trimmed;
	FUZZ_ASSERT(elf_trim_kernel(p, &again, NULL) == 0 && again == trimmed);
}

static void fuzz_program(uint8_t *p, size_t n)
{
	size_t cut = n, again;

	if (elf_take_program(p, &cut, NULL) < 0)
		return;
	FUZZ_ASSERT(cut <= n);
	again = cut;
	FUZZ_ASSERT(elf_take_program(p, &again, NULL) == 0 && again == cut);
}

static void fuzz_hide(void *p, size_t n)
{
	elf_hide_section(p, n, ".modinfo");
	elf_hide_section(p, n, "");
}

static void fuzz_module(const uint8_t *p, size_t n)
{
	struct modinfo m;

	FUZZ_ASSERT(elf_unsigned_len(p, n) <= n);
	if (elf_modinfo(p, n, &m, NULL) < 0)
		return;
	for (const char *const *key = (const char *const[]){ "depends", "vermagic", "", NULL }; *key; key++) {
		const char *v = modinfo_get(&m, *key);

		FUZZ_ASSERT(!v || (v > m.p && v < m.p + m.n && strlen(v) < (size_t)(m.p + m.n - v)));
	}
}

static void fuzz_manifest(struct fuzz_in *in)
{
	scoped_free char *text = fuzz_str(in, in->left);
	scoped_manifest m = { 0 }, back = { 0 };
	scoped_str a = { 0 }, b = { 0 };

	if (manifest_parse(text, &m, NULL) < 0)
		return;
	FUZZ_ASSERT(manifest_format(&m, &a, NULL) == 0);
	FUZZ_ASSERT(manifest_parse(a.p, &back, NULL) == 0);
	FUZZ_ASSERT(manifest_format(&back, &b, NULL) == 0);
	FUZZ_ASSERT(str_eq(a.p, b.p));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint64_t kind = fuzz_uint(&in, 1);
	scoped_free uint8_t *p = NULL;
	size_t n;

	if (kind == 'M') {
		fuzz_manifest(&in);
		return 0;
	}
	p = fuzz_bytes(&in, size, &n);
	if (kind == 'b')
		fuzz_bzimage(p, n);
	if (kind == 'k')
		fuzz_kernel(p, n);
	if (kind == 'p')
		fuzz_program(p, n);
	if (kind == 'm') {
		fuzz_module(p, n);
		fuzz_hide(p, n);
	}
	return 0;
}
