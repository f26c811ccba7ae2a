/* state.c - see state.h. Reading goes through the table engine of field.h.
 *
 * Trusts nothing in a state file: it may be half-written, or another program's. */
#include "oci/state.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "oci/field.h"

static const char *const status_names[STATE_STATUS_N] = { "creating", "created", "running", "paused",
							  "stopped" };

const char *state_status_name(enum state_status s)
{
	return s < STATE_STATUS_N ? status_names[s] : "?";
}

void state_time(const struct timespec *realtime, char ret[STATE_TIME_MAX])
{
	struct tm tm;
	size_t n;

	if (!gmtime_r(&realtime->tv_sec, &tm)) /* beyond the year 2^31 */
		tm = (struct tm){ .tm_year = 70, .tm_mday = 1 };
	n = strftime(ret, STATE_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(ret + n, STATE_TIME_MAX - n, ".%09ldZ", realtime->tv_nsec % 1000000000);
}

static int read_status(const struct field_ctx *c, const struct json *v, void *obj)
{
	const char *s;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	for (size_t i = 0; i < STATE_STATUS_N; i++)
		if (strcmp(status_names[i], s) == 0) {
			*(enum state_status *)obj = (enum state_status)i;
			return 0;
		}
	return json_err(c->e, v, "\"%.40s\" is not a status", s);
}

static int read_id(const struct field_ctx *c, const struct json *v, void *obj)
{
	const char **ret = obj, *s;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	if (!str_is_id(s))
		return json_err(c->e, v, "is not a container ID");
	*ret = arena_str(c->mem, s);
	return *ret ? 0 : field_no_memory(c);
}

static const struct field state_rows[] = {
	ROW("ociVersion", FIELD_STR, struct oci_state, oci_version,
	    .flags = FIELD_REQUIRED | FIELD_NOT_EMPTY),
	ROW("id", FIELD_FN, struct oci_state, id, .flags = FIELD_REQUIRED, .fn = read_id),
	ROW("pid", FIELD_I64, struct oci_state, pid, .flags = FIELD_REQUIRED, .max = INT32_MAX),
	ROW("pidStart", FIELD_U64, struct oci_state, pid_start, MAX_U64),
	ROW("status", FIELD_FN, struct oci_state, status, .flags = FIELD_REQUIRED, .fn = read_status),
	ROW("bundle", FIELD_STR, struct oci_state, bundle, .flags = FIELD_REQUIRED | FIELD_ABSOLUTE),
	ROW("rootfs", FIELD_STR, struct oci_state, rootfs, .flags = FIELD_EMPTY_UNSET | FIELD_ABSOLUTE),
	ROW("created", FIELD_STR, struct oci_state, created, .flags = FIELD_EMPTY_UNSET),
	ROW("annotations", FIELD_KVS, struct oci_state, annotations),
	ROW("owner", FIELD_STR, struct oci_state, owner),
};
static const struct field_obj state_table = FIELD_OBJ_OF(struct oci_state, state_rows, NULL);

static void write_document(const struct oci_state *s, struct json_writer *w)
{
	json_open(w, NULL, '{');
	json_put_str(w, "ociVersion", s->oci_version ? s->oci_version : STATE_OCI_VERSION);
	json_put_str(w, "id", s->id);
	json_put_i64(w, "pid", s->pid);
	if (s->pid_start)
		json_put_u64(w, "pidStart", s->pid_start);
	json_put_str(w, "status", state_status_name(s->status));
	json_put_str(w, "bundle", s->bundle);
	if (s->rootfs)
		json_put_str(w, "rootfs", s->rootfs);
	if (s->created)
		json_put_str(w, "created", s->created);
	if (s->annotations.n) {
		json_open(w, "annotations", '{');
		for (size_t i = 0; i < s->annotations.n; i++)
			json_put_str(w, s->annotations.p[i].key, s->annotations.p[i].value);
		json_close(w, '}');
	}
	if (s->owner)
		json_put_str(w, "owner", s->owner);
	json_close(w, '}');
}

void state_write(const struct oci_state *s, const char *indent, struct str *to)
{
	struct json_writer w = { .to = to, .indent = indent };

	write_document(s, &w);
}

int state_read(const char *json, size_t n, struct oci_state *ret, struct err *e)
{
	scoped_arena tree = { .max = (size_t)32 * STATE_TEXT_MAX };
	struct oci_state s = { 0 };
	struct field_ctx c = { .mem = &s.mem, .e = e };
	struct json *v;
	int r;

	*ret = (struct oci_state){ 0 };
	if (n > STATE_TEXT_MAX)
		return err_set(e, -EFBIG, "state: %zu bytes are too many; at most %u are read", n,
			       STATE_TEXT_MAX);
	r = json_parse(json, n, "state", &tree, &v, e);
	if (r < 0)
		return r;
	r = field_read(&c, &state_table, v, &s);
	if (r < 0) {
		state_fini(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void state_fini(struct oci_state *s)
{
	arena_fini(&s->mem);
	*s = (struct oci_state){ 0 };
}

void state_list_json(const struct oci_state *s, size_t n, struct str *to)
{
	struct json_writer w = { .to = to, .indent = "" };

	json_open(&w, NULL, '[');
	for (size_t i = 0; i < n; i++)
		write_document(&s[i], &w);
	json_close(&w, ']');
}

#define COLUMNS 6u

/* One cell, escaped: a path or a name in a state file may hold anything. */
static void add_cell(struct strv *cells, const char *text)
{
	scoped_str cell = { 0 };

	if (text)
		str_add_escaped(&cell, text, strlen(text));
	strv_add_take(cells, str_take(&cell));
}

static void add_row(struct strv *cells, const struct oci_state *s)
{
	add_cell(cells, s->id);
	strv_addf(cells, "%" PRId64, s->pid);
	add_cell(cells, state_status_name(s->status));
	add_cell(cells, s->bundle);
	add_cell(cells, s->created);
	add_cell(cells, s->owner);
}

/* Columns as Go's tabwriter makes them for runc: at least 12 wide, 3 blanks between. */
void state_list_table(const struct oci_state *s, size_t n, struct str *to)
{
	static const char *const heads[COLUMNS] = { "ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER" };
	size_t width[COLUMNS] = { 0 };
	scoped_strv cells = { 0 };

	for (size_t i = 0; i < COLUMNS; i++)
		strv_add(&cells, heads[i]);
	for (size_t i = 0; i < n; i++)
		add_row(&cells, &s[i]);
	if (strv_check(&cells) < 0) {
		to->oom = true;
		return;
	}
	for (size_t i = 0; i < cells.n; i++) {
		size_t w = strlen(cells.p[i]) + 3;

		if (w > width[i % COLUMNS])
			width[i % COLUMNS] = w < 12 ? 12 : w;
	}
	for (size_t i = 0; i < cells.n; i++) {
		if (i % COLUMNS == COLUMNS - 1)
			str_addf(to, "%s\n", cells.p[i]);
		else
			str_addf(to, "%-*s", (int)width[i % COLUMNS], cells.p[i]);
	}
}

void state_list_quiet(const struct oci_state *s, size_t n, struct str *to)
{
	for (size_t i = 0; i < n; i++)
		str_addf(to, "%s\n", s[i].id);
}
