/* storepriv.h - what store.c and storew.c share. */
#ifndef IMAGE_STOREPRIV_H
#define IMAGE_STOREPRIV_H

#include "image/store.h"

/* n lower-case hex digits and nothing else. */
bool store_is_hex(const char *s, size_t n);
/* The names file, sorted; *ret is freed by the caller. No file = no rows. */
int must_check store_read_names(const struct store *s, struct store_row **ret, size_t *ret_n, struct err *e);
/* Reads "D.sum" in a directory; `shown` is what the directory is called. */
int must_check store_read_sum_at(int dir, const char *shown, const char *layer, struct store_sum *ret,
				 struct err *e);
/* The ids of all images. */
int must_check store_read_ids(const struct store *s, struct strv *ret, struct err *e);

#endif
