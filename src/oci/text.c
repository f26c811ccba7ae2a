/* text.c - see text.h. */
#include "oci/text.h"

#include <stdio.h>
#include <string.h>

void text_add(struct str *to, const char *text, size_t max)
{
	size_t left = strlen(text), start = to->len;

	while (left > 0) {
		size_t n = str_utf8_len(text, left);

		if (n == 0)
			n = 1; /* one that is escaped, as 4 bytes */
		if (to->len - start + 4 > max) {
			str_add(to, "...");
			return;
		}
		str_add_escaped(to, text, n);
		text += n;
		left -= n;
	}
}

void text_addv(struct str *to, const char *fmt, va_list ap)
{
	char raw[TEXT_MAX + 4];

	(void)vsnprintf(raw, sizeof(raw), fmt, ap); /* cut: text_add() says so */
	text_add(to, raw, TEXT_MAX);
}
