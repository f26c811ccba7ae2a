/* test_opt.c - the option engine: every type, every spelling, hostile texts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cfg/opt.h"
#include "cfg/signame.h"

struct object {
	bool flag, truth;
	const char *text, *path;
	struct opt_strs list, words;
	uint64_t number, size, duration;
	uint32_t mode;
	int choice;
	struct opt_int whole, limit;
};

static const char *const choices[] = { "red", "green", "blue", NULL };

#define AT(field) offsetof(struct object, field)
#define ALL       (OPT_FROM_FILE | OPT_FROM_CLI | OPT_FROM_ANNOTATION)
static const struct opt rows[] = {
	{ "flag", 'f', OPT_FLAG, ALL, AT(flag), 0, 0, NULL, NULL, "a flag" },
	{ "truth", 0, OPT_BOOL, ALL, AT(truth), 0, 0, NULL, NULL, "a truth" },
	{ "text", 't', OPT_STR, ALL, AT(text), 0, 0, NULL, "WORD", "a text" },
	{ "path", 0, OPT_PATH, OPT_FROM_FILE | OPT_FROM_CLI, AT(path), 0, 0, NULL, NULL, "a path" },
	{ "list", 'l', OPT_STRS, ALL, AT(list), 0, 0, NULL, NULL, "a list" },
	{ "words", 0, OPT_WORDS, ALL, AT(words), 0, 0, NULL, NULL, "words" },
	{ "vm.number", 'n', OPT_U64, ALL, AT(number), 2, 10, NULL, NULL, "a number" },
	{ "size", 0, OPT_SIZE, ALL, AT(size), 4096, 1u << 30, NULL, NULL, "a size" },
	{ "duration", 0, OPT_DURATION, ALL, AT(duration), 1000000, 0, NULL, NULL, "a duration" },
	{ "mode", 0, OPT_OCTAL, ALL, AT(mode), 0, 07777, NULL, NULL, "a mode" },
	{ "choice", 'c', OPT_ENUM, ALL, AT(choice), 0, 0, choices, NULL, "a choice" },
	{ "whole", 0, OPT_INT, ALL, AT(whole), -5, 100, NULL, NULL, "a whole number" },
	{ "limit", 0, OPT_LIMIT, ALL, AT(limit), 0, 0, NULL, NULL, "a limit" },
	{ "gone", 0, OPT_STR, ALL, OPT_NOWHERE, 0, 0, NULL, NULL, "accepted and ignored" },
	{ "file-only", 0, OPT_U64, OPT_FROM_FILE, AT(number), 0, 0, NULL, NULL, "not on the command line" },
	{ "cli-only", 0, OPT_U64, OPT_FROM_CLI, AT(number), 0, 0, NULL, NULL, "not in the file" },
};
static const struct opt_table table = OPT_TABLE(rows);

struct fixture {
	struct object o;
	struct arena mem;
	struct opt_target t;
	struct opt_args a;
	struct err e;
};

static void begin(struct fixture *f, enum opt_from from, const char *origin)
{
	*f = (struct fixture){ .t = { .from = from, .origin = origin } };
	f->t.table = table;
	f->t.obj = &f->o;
	f->t.mem = &f->mem;
	if (from == OPT_FROM_CLI)
		f->t.prefix = "--";
}

static int args(struct fixture *f, size_t until, int argc, const char *const *argv)
{
	begin(f, OPT_FROM_CLI, NULL);
	f->a = (struct opt_args){ .argc = argc, .argv = (char *const *)(uintptr_t)argv, .until = until };
	return opt_parse_args(&f->t, &f->a, &f->e);
}

#define ARGS(f, until, ...)                                                                                  \
	args(f, until, ARRAY_LEN(((const char *[]){ __VA_ARGS__ })), (const char *[]){ __VA_ARGS__ })

static int file(struct fixture *f, const char *text)
{
	begin(f, OPT_FROM_FILE, "x.conf");
	return opt_parse_file(&f->t, text, strlen(text), &f->e);
}

#define assert_says(f, part)                                                                                 \
	do {                                                                                                 \
		if (!strstr((f)->e.msg, (part)))                                                             \
			fail_msg("\"%s\" is not in \"%s\"", (part), (f)->e.msg);                             \
	} while (0)

/* --- command line --- */

static void spellings_of_one_option(void **state)
{
	static const char *const lines[][3] = {
		{ "--text", "x" }, { "--text=x" }, { "-text", "x" }, { "-text=x" },
		{ "-t", "x" },     { "-tx" },      { "-t=x" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct fixture f;

		assert_int_equal(args(&f, SIZE_MAX, lines[i][1] ? 2 : 1, lines[i]), 0);
		assert_string_equal(f.o.text, "x");
		assert_int_equal(f.a.pos.n, 0);
		arena_fini(&f.mem);
	}
}

static void options_and_positionals_mix(void **state)
{
	struct fixture f;

	(void)state;
	assert_int_equal(ARGS(&f, SIZE_MAX, "id", "--flag", "-", "-l", "a", "-lb", "--list=c", "15"), 0);
	assert_true(f.o.flag);
	assert_int_equal(f.a.pos.n, 3);
	assert_string_equal(f.a.pos.p[1], "-");
	assert_int_equal(f.o.list.n, 3);
	assert_string_equal(f.o.list.p[2], "c");
	assert_int_equal(f.a.used, 8);
	arena_fini(&f.mem);
}

static void options_end_where_said(void **state)
{
	struct fixture f;

	(void)state;
	assert_int_equal(ARGS(&f, 1, "-f", "id", "ls", "-l", "--text"), 0);
	assert_int_equal(f.a.pos.n, 4);
	assert_string_equal(f.a.pos.p[3], "--text");
	assert_int_equal(f.o.list.n, 0);
	arena_fini(&f.mem);

	assert_int_equal(ARGS(&f, 0, "-f", "verb", "--bad"), 0);
	assert_int_equal(f.a.used, 1);
	assert_int_equal(f.a.pos.n, 0);
	arena_fini(&f.mem);

	assert_int_equal(ARGS(&f, SIZE_MAX, "--", "-f", "--text"), 0);
	assert_false(f.o.flag);
	assert_int_equal(f.a.pos.n, 2);
	arena_fini(&f.mem);

	assert_int_equal(ARGS(&f, 0, "--", "verb"), 0);
	assert_int_equal(f.a.used, 1);
	arena_fini(&f.mem);
}

static void flags_take_an_attached_value_only(void **state)
{
	struct fixture f;

	(void)state;
	assert_int_equal(ARGS(&f, SIZE_MAX, "--flag", "false"), 0);
	assert_true(f.o.flag);
	assert_int_equal(f.a.pos.n, 1);
	arena_fini(&f.mem);
	assert_int_equal(ARGS(&f, SIZE_MAX, "-f=true", "--flag=false"), 0);
	assert_false(f.o.flag);
	arena_fini(&f.mem);
	assert_int_equal(ARGS(&f, SIZE_MAX, "-fn", "3"), 0);
	assert_true(f.o.flag && f.o.number == 3);
	arena_fini(&f.mem);
}

static void wrong_lines_name_the_option(void **state)
{
	static const struct {
		const char *arg, *says;
	} cases[] = {
		{ "--text", "option --text requires an argument" },
		{ "-t", "option --text requires an argument" },
		{ "--txet=1", "did you mean \"--text\"?" },
		{ "--zzzzzzzzz", "unknown option \"--zzzzzzzzz\"" },
		{ "-fz", "unknown option \"-z\" in \"-fz\"" },
		{ "--=", "unknown option \"--\"" },
		{ "--text=", "--text: \"\" can't be used: give a text that is not empty" },
		{ "--path=a", "give an absolute path" },
		{ "--vm.number=11", "--vm.number: \"11\" is out of range: give a number, from 2 to 10" },
		{ "--vm.number=1", "out of range" },
		{ "--vm.number=-3", "can't be used" },
		{ "--vm.number= 3", "can't be used" },
		{ "--vm.number=99999999999999999999999", "out of range" },
		{ "--size=5X", "give a size such as 4096, 512M or 2G, from 4K to 1G" },
		{ "--size=2G", "out of range" },
		{ "--size=99999999999999G", "out of range" },
		{ "--duration=5", "give a duration" },
		{ "--mode=9", "give an octal number, at most 07777" },
		{ "--choice=pink", "give red, green or blue" },
		{ "--choice=Red", "give red, green or blue" },
		{ "--whole=-6", "give a number, from -5 to 100" },
		{ "--whole=101", "out of range" },
		{ "--limit=-2", "or -1" },
		{ "--limit=16777216T", "out of range" },
		{ "--flag=maybe", "give true or false" },
		{ "--file-only=3", "unknown option" },
		{ "--text=\x1b[31m", NULL },
		{ "--choice=\x1b[31m", "--choice: \"\\x1b[31m\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture f;
		int r = args(&f, SIZE_MAX, 1, &cases[i].arg);

		assert_int_equal(r < 0, cases[i].says != NULL);
		if (cases[i].says)
			assert_says(&f, cases[i].says);
		arena_fini(&f.mem);
	}
}

static void every_type_stores_its_value(void **state)
{
	struct fixture f;

	(void)state;
	assert_int_equal(ARGS(&f, SIZE_MAX, "--truth=yes", "--path=/a b", "--words= a  b ", "--vm.number=10",
			      "--size=4k", "--duration=1m30s", "--mode=0755", "-c", "blue", "--whole=-5",
			      "--limit=1g", "--gone=x"),
			 0);
	assert_true(f.o.truth);
	assert_string_equal(f.o.path, "/a b");
	assert_int_equal(f.o.words.n, 2);
	assert_string_equal(f.o.words.p[1], "b");
	assert_int_equal(f.o.number, 10);
	assert_int_equal(f.o.size, 4096);
	assert_int_equal(f.o.duration, 90000000000u);
	assert_int_equal(f.o.mode, 0755);
	assert_int_equal(f.o.choice, 2);
	assert_true(f.o.whole.set && f.o.whole.v == -5);
	assert_true(f.o.limit.set && f.o.limit.v == 1 << 30);
	arena_fini(&f.mem);
	assert_int_equal(ARGS(&f, SIZE_MAX, "--limit", "-1"), 0);
	assert_true(f.o.limit.set && f.o.limit.v == -1);
	assert_false(f.o.whole.set);
	arena_fini(&f.mem);
}

static void long_lists_grow(void **state)
{
	const char *argv[101];
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(argv); i++)
		argv[i] = i % 2 ? "--list=y" : "-lx";
	assert_int_equal(args(&f, SIZE_MAX, ARRAY_LEN(argv), argv), 0);
	assert_int_equal(f.o.list.n, 101);
	for (size_t i = 0; i < 101; i++)
		assert_string_equal(f.o.list.p[i], i % 2 ? "y" : "x");
	arena_fini(&f.mem);
}

/* --- names --- */

static void near_names_are_found(void **state)
{
	static const char *const cases[][2] = {
		{ "tezt", "text" },
		{ "number", "vm.number" },
		{ "vm.nubmer", "vm.number" },
		{ "durations", "duration" },
		{ "x", NULL },
		{ "", NULL },
		{ "qqqqqqqqqq", NULL },
	};
	char long_name[4000];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct opt *o = opt_nearest(&table, cases[i][0]);

		if (cases[i][1])
			assert_string_equal(o ? o->name : "(none)", cases[i][1]);
		else
			assert_null(o);
	}
	memset(long_name, 'a', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = '\0';
	assert_null(opt_nearest(&table, long_name));
}

/* --- file --- */

static void file_sets_values(void **state)
{
	struct fixture f;

	(void)state;
	assert_int_equal(file(&f, "# comment\n\n  text = \" a # b \"  \r\nvm.number=3\nlist = a b\nlist=c\n"
				  "words = d e\nwords = f\n\tsize\t=\t1M"),
			 0);
	assert_string_equal(f.o.text, " a # b ");
	assert_int_equal(f.o.number, 3);
	assert_int_equal(f.o.list.n, 2);
	assert_string_equal(f.o.list.p[0], "a b");
	assert_int_equal(f.o.words.n, 3);
	assert_int_equal(f.o.size, 1 << 20);
	arena_fini(&f.mem);
	assert_int_equal(file(&f, ""), 0);
	arena_fini(&f.mem);
	assert_int_equal(file(&f, "\n\n#"), 0);
	arena_fini(&f.mem);
}

static void file_errors_name_the_line(void **state)
{
	static const char *const cases[][2] = {
		{ "text = a\n\ntexd = b\n",
		  "line 3: unknown key \"texd\" in x.conf, did you mean \"text\"?" },
		{ "text\n", "x.conf:1: expected \"key = value\"" },
		{ "text = \"a\n", "x.conf:1: the value has no closing double quote" },
		{ "text = \"\n", "no closing double quote" },
		{ "text =\n", "text in x.conf: \"\" can't be used" },
		{ "= 3\n", "unknown key \"\"" },
		{ "vm.number = 3\n#\nvm.number = 4\n", "x.conf:3: vm.number is set in line 1 already" },
		{ "cli-only = 3\n", "x.conf:1: cli-only can't be set in this file" },
		{ "text = a\x01\n", "x.conf:1: there is a control character" },
		{ "text = a\x7f\n", "control character" },
		{ "vm.number = 30\n", "line 1: vm.number in x.conf: \"30\" is out of range" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fixture f;

		assert_true(file(&f, cases[i][0]) < 0);
		assert_says(&f, cases[i][1]);
		arena_fini(&f.mem);
	}
}

static void file_refuses_nul_and_size(void **state)
{
	static char big[OPT_FILE_MAX + 1];
	struct fixture f;

	(void)state;
	begin(&f, OPT_FROM_FILE, "x.conf");
	assert_int_equal(opt_parse_file(&f.t, "text = a\0b\n", 11, &f.e), -EINVAL);
	assert_says(&f, "control character");
	assert_int_equal(opt_parse_file(&f.t, big, sizeof big, &f.e), -EFBIG);
	arena_fini(&f.mem);
}

/* --- annotations --- */

static bool allow_path(const void *ctx, const struct opt *o, enum opt_from from)
{
	(void)ctx;
	(void)from;
	return strcmp(o->name, "path") == 0;
}

static void annotations_take_what_is_open(void **state)
{
	struct fixture f;
	bool ours = true;

	(void)state;
	begin(&f, OPT_FROM_ANNOTATION, "annotations");
	f.t.prefix = "x.y.";
	assert_int_equal(opt_set_annotation(&f.t, "x.z.text", "a", NULL, NULL, &ours, &f.e), 0);
	assert_false(ours);
	assert_int_equal(opt_set_annotation(&f.t, "x.y.text", "a", NULL, NULL, &ours, &f.e), 0);
	assert_true(ours);
	assert_string_equal(f.o.text, "a");
	assert_int_equal(opt_set_annotation(&f.t, "x.y.path", "/a", NULL, NULL, &ours, &f.e), -EPERM);
	assert_says(&f, "x.y.path is not allowed");
	assert_null(f.o.path);
	assert_int_equal(opt_set_annotation(&f.t, "x.y.path", "/a", allow_path, NULL, NULL, &f.e), 0);
	assert_int_equal(opt_set_annotation(&f.t, "x.y.text", "b", allow_path, NULL, NULL, &f.e), -EPERM);
	assert_string_equal(f.o.text, "a");
	assert_int_equal(opt_set_annotation(&f.t, "x.y.", "b", NULL, NULL, NULL, &f.e), -EINVAL);
	assert_int_equal(opt_set_annotation(&f.t, "x.y.tex", "b", NULL, NULL, NULL, &f.e), -EINVAL);
	assert_says(&f, "unknown annotation \"x.y.tex\" in annotations, did you mean \"x.y.text\"?");
	arena_fini(&f.mem);
}

/* --- texts --- */

static void texts_name_every_row(void **state)
{
	scoped_str help = { 0 };
	scoped_str man = { 0 };
	scoped_str words = { 0 };

	(void)state;
	opt_help(&help, &table);
	opt_man(&man, &table, true, NULL);
	opt_words(&words, &table);
	for (size_t i = 0; i < table.n; i++) {
		scoped_str roff = { 0 };
		scoped_str dashed = { 0 };

		str_addf(&dashed, "--%s", rows[i].name);
		opt_add_roff(&roff, dashed.p);
		assert_non_null(strstr(help.p, dashed.p));
		assert_non_null(strstr(man.p, roff.p));
		if (rows[i].from & OPT_FROM_CLI)
			assert_non_null(strstr(words.p, dashed.p));
		else
			assert_null(strstr(words.p, dashed.p));
	}
	for (const char *p = help.p, *nl; (nl = strchr(p, '\n')); p = nl + 1)
		assert_true(nl - p <= 100);
}

static void json_holds_every_value(void **state)
{
	struct fixture f;
	scoped_str s = { 0 };

	(void)state;
	assert_int_equal(
		ARGS(&f, SIZE_MAX, "-f", "--text=a\"\\\n\xff\xc3\xa4", "-la", "-lb", "--whole=-1", "-cgreen"),
		0);
	opt_json(&s, &table, &f.o);
	assert_string_equal(
		s.p,
		"{\"flag\":true,\"truth\":false,\"text\":\"a\\\"\\\\\\u000a\\ufffd\xc3\xa4\",\"path\":null,"
		"\"list\":[\"a\",\"b\"],\"words\":[],\"vm.number\":0,\"size\":0,\"duration\":0,"
		"\"mode\":0,\"choice\":\"green\",\"whole\":-1,\"limit\":null,\"file-only\":0,"
		"\"cli-only\":0}");
	arena_fini(&f.mem);
}

static void values_are_written_as_they_are_read(void **state)
{
	static const char *const lines[][2] = {
		{ "flag", "true" },    { "truth", "false" },     { "text", "a b" },     { "path", "/x" },
		{ "list", "a" },       { "words", "a b c" },     { "vm.number", "10" }, { "size", "12K" },
		{ "duration", "90s" }, { "duration", "1500ms" }, { "mode", "0640" },    { "choice", "blue" },
		{ "whole", "-5" },     { "whole", "7" },         { "limit", "-1" },     { "limit", "1G" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		const struct opt *o = opt_find(&table, lines[i][0]);
		scoped_str s = { 0 };
		struct fixture f;

		begin(&f, OPT_FROM_CLI, NULL);
		assert_int_equal(opt_set(&f.t, o, lines[i][1], &f.e), 0);
		opt_add_value(&s, o, &f.o);
		assert_string_equal(s.p, lines[i][1]);
		arena_fini(&f.mem);
	}
}

static void roff_is_escaped(void **state)
{
	scoped_str s = { 0 };

	(void)state;
	opt_add_roff(&s, ".a\\b-c\n'd.e");
	assert_string_equal(s.p, "\\&.a\\eb\\-c\n\\&'d.e");
}

static void sizes_are_written_short(void **state)
{
	static const struct {
		uint64_t v;
		const char *text;
	} cases[] = { { 0, "0" },
		      { 1023, "1023" },
		      { 1024, "1K" },
		      { 1536, "1536" },
		      { 512u << 20, "512M" },
		      { 1ull << 40, "1T" },
		      { 1ull << 50, "1024T" },
		      { UINT64_MAX, "18446744073709551615" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char s[OPT_SIZE_TEXT];

		assert_string_equal(opt_size_text(cases[i].v, s), cases[i].text);
	}
}

/* --- signals --- */

static void signals_by_name_and_number(void **state)
{
	static const struct {
		const char *text;
		int number; /* -1 = refused */
	} cases[] = {
		{ "9", 9 },        { "KILL", 9 },        { "SIGKILL", 9 },   { "sigterm", 15 },
		{ "0", 0 },        { "64", 64 },         { "RTMIN", 34 },    { "SIGRTMIN+3", 37 },
		{ "rtmax-1", 63 }, { "65", -1 },         { "", -1 },         { "SIG", -1 },
		{ "-9", -1 },      { "KILLER", -1 },     { "RTMIN+31", -1 }, { "RTMIN+", -1 },
		{ "RTMIN-1", -1 }, { "SIGSIGKILL", -1 }, { "9 ", -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int got = 77;
		int r = signame_parse(cases[i].text, &got);

		assert_int_equal(r, cases[i].number < 0 ? -EINVAL : 0);
		assert_int_equal(got, cases[i].number < 0 ? 77 : cases[i].number);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spellings_of_one_option),
		cmocka_unit_test(options_and_positionals_mix),
		cmocka_unit_test(options_end_where_said),
		cmocka_unit_test(flags_take_an_attached_value_only),
		cmocka_unit_test(wrong_lines_name_the_option),
		cmocka_unit_test(every_type_stores_its_value),
		cmocka_unit_test(long_lists_grow),
		cmocka_unit_test(near_names_are_found),
		cmocka_unit_test(file_sets_values),
		cmocka_unit_test(file_errors_name_the_line),
		cmocka_unit_test(file_refuses_nul_and_size),
		cmocka_unit_test(annotations_take_what_is_open),
		cmocka_unit_test(texts_name_every_row),
		cmocka_unit_test(json_holds_every_value),
		cmocka_unit_test(values_are_written_as_they_are_read),
		cmocka_unit_test(roff_is_escaped),
		cmocka_unit_test(sizes_are_written_short),
		cmocka_unit_test(signals_by_name_and_number),
	};

	return cmocka_run_group_tests_name("cfg/opt", tests, NULL, NULL);
}
