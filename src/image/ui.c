/* ui.c - see ui.h. Called by the steps of a build. Writes to stderr only; a failed write is ignored:
 * a lost progress line must not cost a build. */
#include "image/ui.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mark.h"

void ui_init(struct ui *ui, bool quiet)
{
	const char *term = getenv("TERM");

	*ui = (struct ui){ .quiet = quiet };
	ui->tty = isatty(2);
	ui->color = ui->tty && !getenv("NO_COLOR") && term && !str_eq(term, "dumb");
}

void ui_step(struct ui *ui, const char *what, const char *fmt, ...)
{
	va_list ap;

	ui->since = mark_now_ns();
	ui->percent = 0;
	if (ui->quiet)
		return;
	ui_abort(ui);
	(void)fprintf(stderr, ui->color ? "  \033[1m%-8s\033[0m " : "  %-8s ", what);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	ui->open = true;
}

void ui_done(struct ui *ui)
{
	double s = (double)(mark_now_ns() - ui->since) / 1e9;

	if (!ui->open)
		return;
	(void)fprintf(stderr, ui->color ? " \033[2m%.1f s\033[0m\n" : " %.1f s\n", s);
	ui->open = false;
}

void ui_percent(struct ui *ui, unsigned percent)
{
	const unsigned step = ui->tty ? 1 : 10;

	if (!ui->open || percent < ui->percent + step)
		return;
	ui->percent = percent / step * step;
	/* At a terminal's end of the line: four places, then back. */
	(void)fprintf(stderr, ui->tty ? " %3u%%\b\b\b\b\b" : " %u%%", ui->percent);
}

void ui_note(struct ui *ui, const char *fmt, ...)
{
	va_list ap;

	if (ui->quiet)
		return;
	ui_abort(ui);
	(void)fprintf(stderr, "  %-8s ", "note");
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
}

void ui_abort(struct ui *ui)
{
	if (ui->open)
		(void)fputc('\n', stderr);
	ui->open = false;
}

void json_add_string(struct str *s, const char *text)
{
	str_addc(s, '"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			str_addf(s, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			str_addf(s, "\\u%04x", c);
		else
			str_addc(s, (char)c);
	}
	str_addc(s, '"');
}
