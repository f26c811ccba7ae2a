/* fuzz_cli.c - a command line, one argument per line of the input, through runtime/cli.h.
 * Promises: what is accepted names a verb (or help, version), a container ID that is a safe file name
 * and values in their ranges; update's flags give valid JSON; what is refused has a printable reason. */
#include <json-c/json.h>

#include "fuzz.h"
#include "runtime/cli.h"
#include "runtime/verbs.h"

/* The table names the verbs; a parse calls none of them. */
#define NEVER(name)                                                                                          \
	int cmd_##name(struct cli *c, struct err *e)                                                         \
	{                                                                                                    \
		(void)c;                                                                                     \
		(void)e;                                                                                     \
		abort();                                                                                     \
	}
VERBS(NEVER)

#define ARGS_MAX 64

static void check_update(const struct cli *c)
{
	scoped_str s = { 0 };
	struct json_object *o;

	cli_update_json(&s, &c->update);
	o = s.p ? json_tokener_parse(s.p) : NULL;
	FUZZ_ASSERT(o);
	json_object_put(o);
}

static void check_accepted(const struct cli *c)
{
	FUZZ_ASSERT(c->global.root && *c->global.root);
	FUZZ_ASSERT(c->kill_signal >= 0 && c->kill_signal <= 64);
	FUZZ_ASSERT(c->format == CLI_TABLE || c->format == CLI_JSON);
	FUZZ_ASSERT(c->create.preserve_fds <= 1024 && c->exec.preserve_fds <= 1024);
	FUZZ_ASSERT(c->events_interval_ns >= 1000000);
	FUZZ_ASSERT((!c->create.bundle || *c->create.bundle) && c->spec_bundle && *c->spec_bundle);
	if (!c->verb || c->help)
		return;
	FUZZ_ASSERT(!c->verb->unsupported && c->verb->run);
	FUZZ_ASSERT(!c->image.name || (c->verb->ends && !c->create.bundle && c->id == c->image.id));
	FUZZ_ASSERT(c->image.name || (c->id != NULL) == c->verb->id);
	if (c->id)
		FUZZ_ASSERT(str_is_id(c->id) && !strchr(c->id, '/'));
	check_update(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct cli_env env = { "/etc", "/os", "/libexec", "commit" };
	struct fuzz_in in = { data, size };
	char *text = fuzz_str(&in, 1 << 14), *argv[ARGS_MAX];
	scoped_cli c = { 0 };
	struct err e = { 0 };
	int argc = 0;

	for (char *p = text, *nl; p && argc < ARGS_MAX; p = nl) {
		nl = strchr(p, '\n');
		if (nl)
			*nl++ = '\0';
		argv[argc++] = p;
	}
	if (cli_parse(&c, &env, argc, argv, &e) == 0) {
		check_accepted(&c);
	} else {
		FUZZ_ASSERT(e.code < 0 && e.msg[0]);
		for (const char *p = e.msg; *p; p++)
			FUZZ_ASSERT((unsigned char)*p >= 0x20 && *p != 0x7f);
	}
	free(text);
	return 0;
}
