/* qmp.c - a QMP client: fixed commands out, a bounded scanner for what comes back.
 *
 * Called by qemu.c. Trusts nothing in a reply. Never: allocates, recurses, keeps a pointer into a line. */
#include "hyper/qmp.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mark.h"

struct scan {
	const char *p, *end;
};

/* What a key of the outermost object, or of "error", means to us. */
enum slot { SLOT_NONE, SLOT_GREETING, SLOT_RETURN, SLOT_ERROR, SLOT_EVENT, SLOT_ID, SLOT_DESC };

static const struct {
	const char *key;
	int depth; /* 1 = outermost */
	enum slot slot;
} slots[] = {
	{ "QMP", 1, SLOT_GREETING }, { "return", 1, SLOT_RETURN }, { "error", 1, SLOT_ERROR },
	{ "event", 1, SLOT_EVENT },  { "id", 1, SLOT_ID },         { "desc", 2, SLOT_DESC },
};

static void skip_blanks(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
		s->p++;
}

static int peek(const struct scan *s)
{
	return s->p < s->end ? (unsigned char)*s->p : -1;
}

static bool take(struct scan *s, int c)
{
	if (peek(s) != c)
		return false;
	s->p++;
	return true;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool is_hex(int c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* One character behind a backslash; what it stands for, '?' for what we don't decode. */
static int scan_escape(struct scan *s)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/     ";
	int c = peek(s);
	const char *at;

	if (c <= 0)
		return -EBADMSG;
	s->p++;
	if (c == 'u') {
		for (int i = 0; i < 4; i++) {
			if (!is_hex(peek(s)))
				return -EBADMSG;
			s->p++;
		}
		return '?';
	}
	at = strchr(from, c);
	return at ? to[at - from] : -EBADMSG;
}

/* A string with its quotes; its text, made printable and cut to cap, goes to `to`. */
static int scan_string(struct scan *s, char *to, size_t cap)
{
	size_t n = 0;

	if (!take(s, '"'))
		return -EBADMSG;
	while (!take(s, '"')) {
		int c = peek(s);

		if (c < 0x20) /* also the end of the line */
			return -EBADMSG;
		s->p++;
		if (c == '\\') {
			c = scan_escape(s);
			if (c < 0)
				return c;
		}
		if (n + 1 < cap)
			to[n++] = c < 0x7f ? (char)c : '?';
	}
	to[n] = '\0';
	return 0;
}

static bool scan_digits(struct scan *s)
{
	if (!is_digit(peek(s)))
		return false;
	while (is_digit(peek(s)))
		s->p++;
	return true;
}

static int scan_number(struct scan *s)
{
	(void)take(s, '-');
	if (!take(s, '0') && !scan_digits(s))
		return -EBADMSG;
	if (take(s, '.') && !scan_digits(s))
		return -EBADMSG;
	if (take(s, 'e') || take(s, 'E')) {
		if (!take(s, '+'))
			(void)take(s, '-');
		if (!scan_digits(s))
			return -EBADMSG;
	}
	return 0;
}

static int scan_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
		return -EBADMSG;
	s->p += n;
	return 0;
}

/* A plain unsigned number and nothing else; others are no id of ours. */
static bool text_to_id(const char *p, const char *end, uint64_t *ret)
{
	uint64_t v = 0;

	if (p == end)
		return false;
	for (; p < end; p++) {
		if (!is_digit((unsigned char)*p) || __builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return false;
	}
	*ret = v;
	return true;
}

static int scan_scalar(struct scan *s, enum slot slot, struct qmp_reply *r)
{
	char text[QMP_TEXT_MAX] = "";
	const char *from = s->p;
	int c = peek(s), ret;

	if (c == '"')
		ret = scan_string(s, text, sizeof text);
	else if (c == 't')
		ret = scan_word(s, "true");
	else if (c == 'f')
		ret = scan_word(s, "false");
	else if (c == 'n')
		ret = scan_word(s, "null");
	else
		ret = scan_number(s);
	if (ret < 0)
		return ret;
	if (slot == SLOT_ID)
		r->has_id = text_to_id(from, s->p, &r->id);
	else if (slot == SLOT_EVENT || slot == SLOT_DESC)
		memcpy(r->text, text, sizeof text);
	return 0;
}

struct walk {
	struct scan s;
	struct qmp_reply r;
	unsigned kinds; /* bit per enum qmp_kind */
	int depth;
	bool is_array[QMP_DEPTH + 1]; /* by depth */
	bool in_error;                /* inside the outermost "error" */
};

static enum slot find_slot(const struct walk *w, const char *key)
{
	for (size_t i = 0; i < ARRAY_LEN(slots); i++)
		if (slots[i].depth == w->depth && strcmp(slots[i].key, key) == 0)
			return w->depth == 1 || w->in_error ? slots[i].slot : SLOT_NONE;
	return SLOT_NONE;
}

static int scan_key(struct walk *w, enum slot *ret)
{
	char key[16]; /* longer than any of ours: a cut key matches none */
	int r;

	r = scan_string(&w->s, key, sizeof key);
	if (r < 0)
		return r;
	skip_blanks(&w->s);
	if (!take(&w->s, ':'))
		return -EBADMSG;
	*ret = find_slot(w, key);
	switch (*ret) {
	case SLOT_GREETING:
		w->kinds |= 1u << QMP_GREETING;
		break;
	case SLOT_RETURN:
		w->kinds |= 1u << QMP_RETURN;
		break;
	case SLOT_ERROR:
		w->kinds |= 1u << QMP_ERROR;
		break;
	case SLOT_EVENT:
		w->kinds |= 1u << QMP_EVENT;
		break;
	case SLOT_NONE:
	case SLOT_ID:
	case SLOT_DESC:
		break;
	}
	return 0;
}

/* Behind a value: closes what ends here. *more = a further element of the open one follows. */
static int scan_after(struct walk *w, bool *more)
{
	*more = false;
	while (w->depth > 0) {
		skip_blanks(&w->s);
		if (take(&w->s, ',')) {
			*more = true;
			return 0;
		}
		if (!take(&w->s, w->is_array[w->depth] ? ']' : '}'))
			return -EBADMSG;
		w->depth--;
		if (w->depth == 1)
			w->in_error = false;
	}
	return 0;
}

/* One value, or the opening of one. *opened = its first element comes next. */
static int scan_value(struct walk *w, enum slot slot, bool *opened)
{
	int c;

	*opened = false;
	skip_blanks(&w->s);
	c = peek(&w->s);
	if (c != '{' && c != '[')
		return scan_scalar(&w->s, slot, &w->r);
	if (w->depth == QMP_DEPTH)
		return -EBADMSG;
	w->s.p++;
	w->depth++;
	w->is_array[w->depth] = c == '[';
	if (slot == SLOT_ERROR)
		w->in_error = true;
	skip_blanks(&w->s);
	*opened = peek(&w->s) != (c == '[' ? ']' : '}');
	return 0;
}

static int scan_all(struct walk *w)
{
	enum slot slot = SLOT_NONE;
	bool next = false;
	int r;

	do {
		skip_blanks(&w->s);
		if (w->depth > 0 && !w->is_array[w->depth]) {
			r = scan_key(w, &slot);
			if (r < 0)
				return r;
		} else {
			slot = SLOT_NONE;
		}
		r = scan_value(w, slot, &next);
		if (r < 0)
			return r;
		if (!next) {
			r = scan_after(w, &next);
			if (r < 0)
				return r;
		}
	} while (next);
	skip_blanks(&w->s);
	return w->s.p == w->s.end ? 0 : -EBADMSG;
}

int qmp_scan(const char *line, size_t n, struct qmp_reply *ret)
{
	struct walk w = { .s = { .p = line, .end = line + n } };
	int r;

	skip_blanks(&w.s);
	if (peek(&w.s) != '{')
		return -EBADMSG;
	r = scan_all(&w);
	if (r < 0)
		return r;
	if (w.kinds == 0 || (w.kinds & (w.kinds - 1)) != 0)
		return -EBADMSG;
	w.r.kind = (enum qmp_kind)__builtin_ctz(w.kinds);
	*ret = w.r;
	return 0;
}

void qmp_init(struct qmp *q, int fd)
{
	*q = (struct qmp){ .fd = fd };
}

void qmp_fini(struct qmp *q)
{
	scope_close(&q->fd);
	q->fd = -1;
}

static int left_ms(uint64_t until_ns)
{
	uint64_t now = mark_now_ns();

	return now >= until_ns ? 0 : (int)((until_ns - now) / 1000000u) + 1;
}

/* Waits for input and appends it. */
static int fill(struct qmp *q, uint64_t until_ns)
{
	ssize_t n;
	int r;

	if (q->len == sizeof q->in)
		return -EBADMSG;
	r = io_wait_readable(q->fd, left_ms(until_ns));
	if (r < 0)
		return r;
	n = recv(q->fd, q->in + q->len, sizeof q->in - q->len, MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -EPIPE;
	q->len += (size_t)n;
	return 0;
}

static int next_reply(struct qmp *q, uint64_t until_ns, struct qmp_reply *ret)
{
	char *nl;
	size_t n;
	int r;

	while (!(nl = memchr(q->in, '\n', q->len))) {
		r = fill(q, until_ns);
		if (r < 0)
			return r;
	}
	n = (size_t)(nl - q->in);
	r = qmp_scan(q->in, n, ret);
	q->len -= n + 1;
	memmove(q->in, nl + 1, q->len);
	return r;
}

/* Skips events and answers to commands that timed out before. */
static int await(struct qmp *q, bool greeting, uint64_t id, uint64_t until_ns, struct qmp_reply *ret)
{
	int r;

	for (int i = 0; i < QMP_LINES; i++) {
		r = next_reply(q, until_ns, ret);
		if (r < 0)
			return r;
		if (greeting ? ret->kind == QMP_GREETING : ret->has_id && ret->id == id)
			return 0;
	}
	return -EBADMSG;
}

static int send_command(struct qmp *q, const char *name, uint64_t until_ns, struct qmp_reply *ret)
{
	char line[128];
	ssize_t w;
	int n;

	n = snprintf(line, sizeof line, "{\"execute\":\"%s\",\"id\":%llu}\n", name,
		     (unsigned long long)++q->last_id);
	if (n < 0 || (size_t)n >= sizeof line)
		return -EINVAL;
	/* Far less than a socket holds: a full one means that QEMU hangs. */
	w = send(q->fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (w != n)
		return w < 0 && errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
	return await(q, false, q->last_id, until_ns, ret);
}

/* May be cut short by a timeout and be called again. Any answer will do: if the mode is not entered, the
 * command itself is refused, in QEMU's words. */
static int negotiate(struct qmp *q, uint64_t until_ns)
{
	struct qmp_reply rep;
	int r = 0;

	if (!q->greeted)
		r = await(q, true, 0, until_ns, &rep);
	if (r < 0)
		return r;
	q->greeted = true;
	r = send_command(q, "qmp_capabilities", until_ns, &rep);
	q->ready = r == 0;
	return r;
}

int qmp_command(struct qmp *q, const char *name, int timeout_ms, struct err *e)
{
	uint64_t until_ns = mark_now_ns() + (uint64_t)timeout_ms * 1000000u;
	struct qmp_reply rep;
	int r = 0;

	if (q->fd < 0)
		return err_set(e, -EPIPE, "the hypervisor's control connection is closed");
	if (!q->ready)
		r = negotiate(q, until_ns);
	if (r == 0)
		r = send_command(q, name, until_ns, &rep);
	if (r == -ETIMEDOUT)
		return err_set(e, r, "the hypervisor did not answer \"%s\" within %d ms", name, timeout_ms);
	if (r < 0) {
		qmp_fini(q); /* what comes next can't be told apart */
		return err_set(e, r, "the hypervisor's answer to \"%s\": %m", name);
	}
	if (rep.kind != QMP_RETURN)
		return err_set(e, -EIO, "the hypervisor refused \"%s\": %s", name, rep.text);
	return 0;
}
