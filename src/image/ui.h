/* ui.h - what a user sees while a build runs: one line per step on stderr, with the time it took.
 * Results go to stdout and are the caller's. Single thread. */
#ifndef IMAGE_UI_H
#define IMAGE_UI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

struct ui {
	bool quiet; /* no step lines */
	bool tty;   /* stderr is a terminal */
	bool color; /* ... that takes colours */
	bool open;  /* a step's line has no end yet */
	uint64_t since;
	unsigned percent; /* shown last */
};

/* Looks at stderr, NO_COLOR and TERM. */
void ui_init(struct ui *ui, bool quiet);
/* Begins a step: "  fetch    linux-image-... (70.6 MB)"; ui_done() adds the seconds. */
void ui_step(struct ui *ui, const char *what, const char *fmt, ...) printf_like(3, 4);
void ui_done(struct ui *ui);
/* How far an open step is, 0 to 100: on a terminal the number changes in its place, else every tenth is
 * printed behind the step. */
void ui_percent(struct ui *ui, unsigned percent);
/* One whole line, for what the user should know. */
void ui_note(struct ui *ui, const char *fmt, ...) printf_like(2, 3);
/* Ends an open line, for an error that follows. */
void ui_abort(struct ui *ui);

/* Appends a JSON string with its quotes. */
void json_add_string(struct str *s, const char *text);

#endif
