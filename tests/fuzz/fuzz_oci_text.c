/* fuzz_oci_text.c - raw text as config.json, process and resources. Promises: see fuzz_oci.h. */
#include "fuzz_oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	size_t n = 0;
	char *text = (char *)fuzz_bytes(&in, size, &n); /* a block of exactly its size */

	check_documents(text, n);
	free(text);
	return 0;
}
