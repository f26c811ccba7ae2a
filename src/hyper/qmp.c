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

/* What a key of the outermost object, of "error", or of "data" means to us. */
enum slot {
	SLOT_NONE,
	SLOT_GREETING,
	SLOT_RETURN,
	SLOT_ERROR,
	SLOT_EVENT,
	SLOT_ID,
	SLOT_DATA,
	SLOT_DESC,
	SLOT_OPEN,
	SLOT_STATUS
};

static const struct {
	const char *key;
	enum slot in; /* SLOT_NONE = the outermost object, else the value of that key of it */
	enum slot slot;
} slots[] = {
	{ "QMP", SLOT_NONE, SLOT_GREETING },  { "return", SLOT_NONE, SLOT_RETURN },
	{ "error", SLOT_NONE, SLOT_ERROR },   { "event", SLOT_NONE, SLOT_EVENT },
	{ "id", SLOT_NONE, SLOT_ID },         { "data", SLOT_NONE, SLOT_DATA },
	{ "desc", SLOT_ERROR, SLOT_DESC },    { "open", SLOT_DATA, SLOT_OPEN },
	{ "status", SLOT_DATA, SLOT_STATUS },
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
	else if (slot == SLOT_OPEN)
		r->open = c == 't';
	else if (slot == SLOT_STATUS)
		(void)snprintf(r->status, sizeof r->status, "%.15s", text); /* longer than any of ours */
	return 0;
}

struct walk {
	struct scan s;
	struct qmp_reply r;
	unsigned kinds; /* bit per enum qmp_kind */
	int depth;
	bool is_array[QMP_DEPTH + 1]; /* by depth */
	enum slot in;                 /* inside the outermost "error" or "data"; else SLOT_NONE */
};

static enum slot find_slot(const struct walk *w, const char *key)
{
	if (w->depth > 2 || (w->depth == 2 && w->in == SLOT_NONE))
		return SLOT_NONE;
	for (size_t i = 0; i < ARRAY_LEN(slots); i++)
		if (slots[i].in == w->in && strcmp(slots[i].key, key) == 0)
			return slots[i].slot;
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
	case SLOT_DATA:
	case SLOT_DESC:
	case SLOT_OPEN:
	case SLOT_STATUS:
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
			w->in = SLOT_NONE;
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
	if (slot == SLOT_ERROR || slot == SLOT_DATA)
		w->in = slot;
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

static void note_event(struct qmp *q, const struct qmp_reply *r)
{
	if (r->kind != QMP_EVENT)
		return;
	if (strcmp(r->text, "VSERPORT_CHANGE") == 0 && r->open)
		q->seen |= 1u << QMP_PORT_OPEN;
	if (strcmp(r->text, "MIGRATION") == 0 && strcmp(r->status, "completed") == 0)
		q->seen |= 1u << QMP_SAVED;
	if (strcmp(r->text, "MIGRATION") == 0 && strcmp(r->status, "failed") == 0)
		q->seen |= 1u << QMP_NOT_SAVED;
}

/* Skips events and answers to commands that timed out before. */
static int await(struct qmp *q, bool greeting, uint64_t id, uint64_t until_ns, struct qmp_reply *ret)
{
	int r;

	for (int i = 0; i < QMP_LINES; i++) {
		r = next_reply(q, until_ns, ret);
		if (r < 0)
			return r;
		note_event(q, ret);
		if (greeting ? ret->kind == QMP_GREETING : ret->has_id && ret->id == id)
			return 0;
	}
	return -EBADMSG;
}

struct command {
	const char *name, *args; /* args NULL = none */
	int fd;                  /* goes with it; -1 = none */
};

/* Far less than a socket holds: a full one means that QEMU hangs. */
static int send_line(int sock, const char *line, size_t n, int fd)
{
	ssize_t w;

	if (fd >= 0)
		return io_send_fds(sock, line, n, &fd, 1) < 0 ? -EPIPE : 0;
	w = send(sock, line, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (w == (ssize_t)n)
		return 0;
	return w < 0 && errno == EAGAIN ? -ETIMEDOUT : -EPIPE;
}

static int send_command(struct qmp *q, const struct command *c, uint64_t until_ns, struct qmp_reply *ret)
{
	char line[512];
	int n, r;

	n = snprintf(line, sizeof line, "{\"execute\":\"%s\"%s%s,\"id\":%llu}\n", c->name,
		     c->args ? ",\"arguments\":" : "", c->args ? c->args : "",
		     (unsigned long long)++q->last_id);
	if (n < 0 || (size_t)n >= sizeof line)
		return -EINVAL;
	r = send_line(q->fd, line, (size_t)n, c->fd);
	return r < 0 ? r : await(q, false, q->last_id, until_ns, ret);
}

int qmp_preload(const struct qmp *q, const char *lines, int fd)
{
	return send_line(q->fd, lines, strlen(lines), fd);
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
	r = send_command(q, &(struct command){ .name = "qmp_capabilities", .fd = -1 }, until_ns, &rep);
	q->ready = r == 0;
	return r;
}

static int run_command(struct qmp *q, const struct command *c, int timeout_ms, struct err *e)
{
	const char *name = c->name;
	uint64_t until_ns = mark_now_ns() + (uint64_t)timeout_ms * 1000000u;
	struct qmp_reply rep;
	int r = 0;

	if (q->fd < 0)
		return err_set(e, -EPIPE, "the hypervisor's control connection is closed");
	if (!q->ready)
		r = negotiate(q, until_ns);
	if (r == 0)
		r = send_command(q, c, until_ns, &rep);
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

int qmp_command(struct qmp *q, const char *name, int timeout_ms, struct err *e)
{
	return run_command(q, &(struct command){ .name = name, .fd = -1 }, timeout_ms, e);
}

int qmp_command_args(struct qmp *q, const char *name, const char *args, int timeout_ms, struct err *e)
{
	return run_command(q, &(struct command){ .name = name, .args = args, .fd = -1 }, timeout_ms, e);
}

int qmp_send_fd(struct qmp *q, const char *name, int fd, int timeout_ms, struct err *e)
{
	char args[64];
	int n = snprintf(args, sizeof args, "{\"fdname\":\"%s\"}", name);

	if (n < 0 || (size_t)n >= sizeof args)
		return err_set(e, -EINVAL, "descriptor's name %s is too long", name);
	return run_command(q, &(struct command){ .name = "getfd", .args = args, .fd = fd }, timeout_ms, e);
}

int qmp_wait_event(struct qmp *q, unsigned events, int timeout_ms, struct err *e)
{
	uint64_t until_ns = mark_now_ns() + (uint64_t)timeout_ms * 1000000u;
	struct qmp_reply rep;
	int r = q->fd < 0 ? -EPIPE : 0;

	if (r == 0 && !q->ready)
		r = negotiate(q, until_ns);
	while (r == 0 && !(q->seen & events)) {
		r = next_reply(q, until_ns, &rep);
		if (r == 0)
			note_event(q, &rep);
	}
	if (r == -ETIMEDOUT)
		return err_set(e, r, "the hypervisor did not report what was awaited within %d ms",
			       timeout_ms);
	if (r < 0) {
		qmp_fini(q);
		return err_set(e, r, "the hypervisor's control connection: %m");
	}
	return (int)(q->seen & events);
}
