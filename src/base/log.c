/* log.c - where messages go (log.h).
 *
 * Called by mains, the monitor and the agent. Trusts its format strings, not the arguments' bytes:
 * control characters are escaped; a message is one line and valid JSON text in the log file, and on
 * stderr has at most indented lines behind its first.
 * Never: fails, allocates more than the message, or changes errno. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/str.h"

/* The one mutable state of file scope (see log.h). */
static struct {
	const char *tag;
	enum log_level level;
	int fd;
	bool json, both;
} log_state = { .tag = "cor", .level = LOG_LVL_INFO, .fd = -1 };

/* Names as the callers of an OCI runtime know them (logrus). */
static const struct {
	const char *name;   /* "level" of a log file's line */
	const char *prefix; /* behind the tag on stderr */
} levels[LOG_LVL_N] = {
	[LOG_LVL_ERROR] = { "error", "" },
	[LOG_LVL_WARN] = { "warning", "warning: " },
	[LOG_LVL_INFO] = { "info", "" },
	[LOG_LVL_DEBUG] = { "debug", "debug: " },
};

void log_setup(const char *tag, enum log_level level)
{
	log_state.tag = tag;
	log_state.level = level;
}

enum log_level log_level_get(void)
{
	return log_state.level;
}

void log_to_fd(int fd, bool json, bool both)
{
	log_state.fd = fd;
	log_state.json = json;
	log_state.both = both;
}

/* RFC 3339, UTC, nanoseconds. */
static void add_time(struct str *s)
{
	struct timespec t = { 0 };
	struct tm tm = { 0 };

	(void)clock_gettime(CLOCK_REALTIME, &t); /* can't fail for this clock */
	(void)gmtime_r(&t.tv_sec, &tm);
	str_addf(s, "%04d-%02d-%02dT%02d:%02d:%02d.%09ldZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		 tm.tm_hour, tm.tm_min, tm.tm_sec, t.tv_nsec);
}

/* A quoted string; every byte that isn't printable UTF-8 is written as \u00HH. */
static void add_quoted(struct str *s, const char *p)
{
	size_t n = strlen(p);

	str_addc(s, '"');
	for (size_t i = 0; i < n;) {
		size_t len = str_utf8_len(p + i, n - i);

		if (p[i] == '"' || p[i] == '\\') {
			str_addc(s, '\\');
			str_addc(s, p[i]);
		} else if (p[i] == '\n') {
			str_add(s, "\\n");
		} else if (len) {
			str_addn(s, p + i, len);
		} else {
			str_addf(s, "\\u%04x", (unsigned char)p[i]);
		}
		i += len ? len : 1;
	}
	str_addc(s, '"');
}

/* A full disk or a closed stderr must not change what the program does. */
static void put(int fd, const struct str *s)
{
	static const char lost[] = "log: out of memory\n";
	int r;

	if (str_check(s) < 0)
		r = io_write_full(fd, lost, sizeof(lost) - 1);
	else
		r = io_write_full(fd, s->p, s->len);
	(void)r;
}

static void put_stderr(enum log_level level, const char *text)
{
	scoped_str s = { 0 };

	str_addf(&s, "%s: %s", log_state.tag, levels[level].prefix);
	/* A line break is kept where the next line is indented: it can't pose as a message of its own. */
	for (const char *line = text, *next; line; line = next) {
		next = strstr(line, "\n  ");
		str_add_escaped(&s, line, next ? (size_t)(next - line) : strlen(line));
		if (next) {
			str_addc(&s, '\n');
			next++;
		}
	}
	str_addc(&s, '\n');
	put(STDERR_FILENO, &s);
}

static void put_file(enum log_level level, const char *text)
{
	scoped_str s = { 0 };

	if (log_state.json) {
		str_addf(&s, "{\"level\":\"%s\",\"msg\":", levels[level].name);
		add_quoted(&s, text);
		str_add(&s, ",\"time\":\"");
		add_time(&s);
		str_add(&s, "\"}\n");
	} else {
		str_add(&s, "time=\"");
		add_time(&s);
		str_addf(&s, "\" level=%s msg=", levels[level].name);
		add_quoted(&s, text);
		str_addc(&s, '\n');
	}
	put(log_state.fd, &s);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	char text[2 * ERR_MSG_MAX];
	int saved = errno;
	va_list ap;
	int r;

	if (level > log_state.level)
		return;
	va_start(ap, fmt);
	r = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (r >= 0) {
		if (log_state.fd >= 0)
			put_file(level, text);
		if (log_state.fd < 0 || (level == LOG_LVL_ERROR && log_state.both))
			put_stderr(level, text);
	}
	errno = saved;
}
