/* check.c - asks the questions of check.h, and prints the answers.
 * Called by cmd_check.c. Trusts: the tables. Never: changes the host. */
#include "runtime/check.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "oci/json.h"

#define CHECK_FILE_MAX (4u << 20) /* /proc/cpuinfo of a machine with a thousand CPUs */

static const char *const result_names[] = { "ok", "degraded", "missing" };

const char *check_result_name(enum check_result r)
{
	return (unsigned)r < CHECK_RESULT_N ? result_names[r] : "?";
}

char *check_path(const struct check_ctx *c, const char *path)
{
	return arena_fmt(c->mem, "%s%s", c->sysroot, path);
}

char *check_read(const struct check_ctx *c, const char *path)
{
	const char *full = check_path(c, path);
	char *text = NULL;
	size_t len;

	if (!full || io_read_file_at(AT_FDCWD, full, CHECK_FILE_MAX, &text, &len) < 0)
		return NULL;
	return text;
}

void check_fini(struct check_report *r)
{
	for (size_t i = 0; i < r->n; i++)
		str_fini(&r->items[i].found);
	free(r->items);
	*r = (struct check_report){ 0 };
}

static int ask(struct check_ctx *c, const struct check_row *row, struct check_item *it)
{
	int r;

	*it = (struct check_item){
		.row = row, .required = row->required, .cost = row->cost, .remedy = row->remedy
	};
	r = row->ask(c, it);
	return r < 0 ? r : str_check(&it->found);
}

static int ask_all(struct check_ctx *c, struct check_report *rep)
{
	const struct check_row *row;
	int r;

	for (size_t i = 0; i < check_n_host_rows + check_n_part_rows; i++) {
		row = i < check_n_host_rows ? &check_host_rows[i] : &check_part_rows[i - check_n_host_rows];
		rep->n = i + 1;
		r = ask(c, row, &rep->items[i]);
		if (r < 0)
			return r;
		if (rep->items[i].required && rep->items[i].result == CHECK_MISSING)
			rep->ready = false;
		if (str_eq(row->name, "kvm") && rep->items[i].result == CHECK_OK)
			rep->accelerated = true;
	}
	return 0;
}

int check_run(struct check_ctx *c, struct check_report *ret, struct err *e)
{
	struct check_report rep = { .ready = true };
	int r;

	rep.items = calloc(check_n_host_rows + check_n_part_rows, sizeof *rep.items);
	r = rep.items ? ask_all(c, &rep) : -ENOMEM;
	if (r < 0) {
		check_fini(&rep);
		return err_set(e, r, "check: %m");
	}
	*ret = rep;
	return 0;
}

static const char *verdict(const struct check_report *r)
{
	if (!r->ready)
		return "This host can't run containers yet";
	return r->accelerated ? "This host can run containers, by KVM"
			      : "This host can run containers, by software emulation";
}

void check_text(const struct check_report *r, struct str *to)
{
	const struct check_item *it;
	const char *sep = ": missing: ";

	for (size_t i = 0; i < r->n; i++) {
		it = &r->items[i];
		str_addf(to, "%-9s %-22s ", check_result_name(it->result), it->row->title);
		str_add_escaped(to, it->found.p ? it->found.p : "", it->found.len);
		str_addc(to, '\n');
		if (it->result == CHECK_OK)
			continue;
		str_addf(to, "%-9s %-22s cost: %s\n", "", "", it->cost);
		str_addf(to, "%-9s %-22s cure: %s\n", "", "", it->remedy);
	}
	str_add(to, verdict(r));
	for (size_t i = 0; i < r->n; i++)
		if (r->items[i].required && r->items[i].result == CHECK_MISSING) {
			str_addf(to, "%s%s", sep, r->items[i].row->title);
			sep = ", ";
		}
	str_add(to, ".\n");
}

void check_json(const struct check_report *r, struct str *to)
{
	struct json_writer w = { .to = to, .indent = "  " };
	const struct check_item *it;

	json_open(&w, NULL, '{');
	json_put_bool(&w, "ready", r->ready);
	json_put_bool(&w, "accelerated", r->accelerated);
	json_open(&w, "items", '[');
	for (size_t i = 0; i < r->n; i++) {
		it = &r->items[i];
		json_open(&w, NULL, '{');
		json_put_str(&w, "name", it->row->name);
		json_put_str(&w, "result", check_result_name(it->result));
		json_put_bool(&w, "required", it->required);
		json_put_str(&w, "found", it->found.p ? it->found.p : "");
		if (it->result != CHECK_OK) {
			json_put_str(&w, "cost", it->cost);
			json_put_str(&w, "cure", it->remedy);
		}
		json_close(&w, '}');
	}
	json_close(&w, ']');
	json_close(&w, '}');
	str_addc(to, '\n');
}
