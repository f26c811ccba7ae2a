/* text.h - quoting a document in errors and warnings: escaped, so that it can't drive a terminal, and
 * cut between characters, so that an error stays valid UTF-8. Used inside oci/. */
#ifndef OCI_TEXT_H
#define OCI_TEXT_H

#include <stdarg.h>

#include "base/str.h"

/* Appends at most max bytes of the escaped text, and "..." if there was more. */
void text_add(struct str *to, const char *text, size_t max);
/* The same for a formatted text. */
void printf_like(2, 0) text_addv(struct str *to, const char *fmt, va_list ap);

/* Together with a document's name both fit into a struct err. */
#define TEXT_MAX      600u
#define TEXT_PATH_MAX 300u

#endif
