/* note.c - see note.h. Called by every thread of the VMM. Never: allocates, fails, prints guest bytes. */
#include "vmm/note.h"

#include <stdarg.h>
#include <stdio.h>

#define NOTE_MAX 512

void note(const char *fmt, ...)
{
	char line[NOTE_MAX] = "cor-vmm: ";
	size_t head = sizeof("cor-vmm: ") - 1, room = sizeof line - head - 1;
	va_list ap;
	ssize_t w;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line + head, room, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	head += (size_t)n < room ? (size_t)n : room - 1;
	line[head++] = '\n';
	w = write(STDERR_FILENO, line, head);
	(void)w; /* see note.h */
}
