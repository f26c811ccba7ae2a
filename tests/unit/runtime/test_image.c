/* What an image's configuration and the options of `run --image` become. */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "unit.h"

#include "oci/validate.h"
#include "runtime/image.h"

/* What Docker and buildah write, with what means nothing to us. */
static const char full[] =
	"{\"created\":\"2024-01-02T03:04:05Z\",\"author\":\"A "
	"<a@example.org>\",\"architecture\":\"amd64\",\"os\":\"linux\","
	"\"variant\":\"v3\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]},\"history\":[{\"created_by\":"
	"\"x\"}],"
	"\"config\":{\"User\":\"app:audio\",\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},"
	"\"Env\":[\"PATH=/app/bin\",\"A=image\",\"noise\",\"B=x=y\"],\"Entrypoint\":[\"/"
	"entry\",\"-e\"],\"Cmd\":[\"one\",\"two\"],"
	"\"Volumes\":{\"/data\":{},\"rel/../v\":{},\"/\":{},\"/data/\":{}},\"WorkingDir\":\"/work\","
	"\"Labels\":{\"a\":\"b\",\"dev.cor.vm.memory\":\"16T\",\"org.opencontainers.image.os\":\"plan9\","
	"\"org.opencontainers.image.exposedPorts\":\"1/tcp\"},"
	"\"StopSignal\":\"SIGQUIT\",\"OnBuild\":null,\"Healthcheck\":{\"Test\":[\"NONE\"]},\"ArgsEscaped\":"
	"true}}";
static const char bare[] =
	"{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Env\":null,\"Cmd\":null,\"Volumes\":null,"
	"\"User\":\"\",\"WorkingDir\":\"\"}}";

/* One run: image and options in, a checked spec out. */
struct run {
	struct cli cli;
	const char *args[4], *env[4], *volume[4];
	struct spec spec;
	struct err e;
	int r;
};

static void setup(struct run *x)
{
	*x = (struct run){ .cli = { .id = "the-id", .image = { .name = "img" } } };
}

static void go(struct run *x, const char *config)
{
	const struct validate_host host = { 0 };
	scoped_image_config image = { 0 };
	scoped_strv warnings = { 0 };
	scoped_str text = { 0 };

	x->cli.args.p = x->args;
	x->cli.image.env.p = x->env;
	x->cli.image.volume.p = x->volume;
	while (x->cli.args.n < 4 && x->args[x->cli.args.n])
		x->cli.args.n++;
	while (x->cli.image.env.n < 4 && x->env[x->cli.image.env.n])
		x->cli.image.env.n++;
	while (x->cli.image.volume.n < 4 && x->volume[x->cli.image.volume.n])
		x->cli.image.volume.n++;
	x->r = image_config_parse(config, strlen(config), "image img", &image, &x->e);
	if (x->r == 0)
		x->r = image_spec(&image, &x->cli, &text, &x->e);
	if (x->r < 0)
		return;
	if (spec_parse(text.p, text.len, &x->spec, &x->e) < 0 ||
	    spec_validate(&x->spec, &host, &warnings, &x->e) < 0 || spec_validate_start(&x->spec, &x->e) < 0)
		fail_msg("%s in\n%s", x->e.msg, text.p);
	assert_int_equal(warnings.n, 0);
}

static void assert_list(const struct spec_strs *v, const char *want)
{
	scoped_str got = { 0 };

	for (size_t i = 0; i < v->n; i++)
		str_addf(&got, "%s%s", i ? "|" : "", v->p[i]);
	assert_string_equal(got.p ? got.p : "", want);
}

/* Mounts behind the usual seven. */
static void assert_mounts(const struct spec *s, const char *want)
{
	scoped_str got = { 0 };

	for (size_t i = 7; i < s->mounts.n; i++)
		str_addf(&got, "%s%s %s %s%s%s", i > 7 ? "|" : "", s->mounts.p[i].destination,
			 s->mounts.p[i].type, s->mounts.p[i].source,
			 s->mounts.p[i].flags_set & 1 ? " ro" : "", s->mounts.p[i].tmpcopyup ? " copy" : "");
	assert_string_equal(got.p ? got.p : "", want);
}

static void image_alone(void **state)
{
	struct run x;

	setup(&x);
	go(&x, full);
	assert_list(&x.spec.process.args, "/entry|-e|one|two");
	assert_list(&x.spec.process.env, "PATH=/app/bin|HOSTNAME=the-id|A=image|B=x=y");
	assert_string_equal(x.spec.process.user.name, "app:audio");
	assert_string_equal(x.spec.process.cwd, "/work");
	assert_string_equal(x.spec.hostname, "the-id");
	assert_false(x.spec.process.terminal || x.spec.root.readonly || x.spec.process.no_new_privileges);
	assert_mounts(&x.spec, "/data tmpfs tmpfs copy|/v tmpfs tmpfs copy");
	assert_string_equal(spec_annotation(&x.spec, "a"), "b");
	assert_string_equal(spec_annotation(&x.spec, "org.opencontainers.image.os"), "linux");
	assert_string_equal(spec_annotation(&x.spec, "org.opencontainers.image.variant"), "v3");
	assert_string_equal(spec_annotation(&x.spec, "org.opencontainers.image.author"), "A <a@example.org>");
	assert_string_equal(spec_annotation(&x.spec, "org.opencontainers.image.created"),
			    "2024-01-02T03:04:05Z");
	assert_string_equal(spec_annotation(&x.spec, "org.opencontainers.image.stopSignal"), "SIGQUIT");
	assert_string_equal(spec_annotation(&x.spec, "org.opencontainers.image.exposedPorts"),
			    "80/tcp,53/udp");
	/* who makes an image does not set up VMs */
	assert_null(spec_annotation(&x.spec, "dev.cor.vm.memory"));
	assert_non_null(spec_namespace(&x.spec, CLONE_NEWNET));
	assert_null(spec_namespace(&x.spec, CLONE_NEWNET)->path);
	assert_int_equal(x.spec.process.capabilities.ambient, 0);
	assert_true(x.spec.process.capabilities.permitted == x.spec.process.capabilities.bounding);
	spec_fini(&x.spec);
}

static void image_of_nothing(void **state)
{
	struct run x;

	setup(&x);
	go(&x, bare);
	assert_int_equal(x.r, -EINVAL);
	assert_string_equal(x.e.msg,
			    "image img names no command: give one, as in: cor run --image img -- COMMAND");

	setup(&x);
	x.args[0] = "sh";
	go(&x, "{}");
	assert_list(&x.spec.process.args, "sh");
	assert_list(&x.spec.process.env,
		    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|HOSTNAME=the-id");
	assert_string_equal(x.spec.process.user.name, "0");
	assert_string_equal(x.spec.process.cwd, "/");
	assert_mounts(&x.spec, "");
	assert_false(x.spec.lnx.resources.has_memory || x.spec.lnx.resources.has_cpu);
	spec_fini(&x.spec);
}

static void options_stand_before(void **state)
{
	struct run x;

	setup(&x);
	x.cli.image.user = "7";
	x.cli.image.workdir = "/w";
	x.cli.image.tty = x.cli.image.read_only = true;
	x.cli.image.memory = 64u << 20;
	x.cli.image.cpus = "1.25";
	x.args[0] = "three";
	x.env[0] = "A=own";
	x.env[1] = "C=";
	x.env[2] = "TERM=vt100";
	x.volume[0] = "/usr/../usr:/data:ro";
	x.volume[1] = "/etc/passwd:/p";
	go(&x, full);
	assert_list(&x.spec.process.args, "/entry|-e|three");
	assert_list(&x.spec.process.env, "PATH=/app/bin|TERM=vt100|HOSTNAME=the-id|A=own|B=x=y|C=");
	assert_string_equal(x.spec.process.user.name, "7");
	assert_string_equal(x.spec.process.cwd, "/w");
	assert_true(x.spec.process.terminal && x.spec.root.readonly);
	assert_mounts(&x.spec, "/v tmpfs tmpfs copy|/data bind /usr ro|/p bind /etc/passwd");
	assert_int_equal(x.spec.lnx.resources.memory.limit, 64 << 20);
	assert_int_equal(x.spec.lnx.resources.cpu.quota, 125000);
	assert_int_equal(x.spec.lnx.resources.cpu.period, 100000);
	spec_fini(&x.spec);

	/* --entrypoint takes the image's Cmd away with its Entrypoint */
	setup(&x);
	x.cli.image.entrypoint = "/e";
	go(&x, full);
	assert_list(&x.spec.process.args, "/e");
	spec_fini(&x.spec);
	setup(&x);
	x.cli.image.entrypoint = "/e";
	x.args[0] = "x";
	go(&x, full);
	assert_list(&x.spec.process.args, "/e|x");
	spec_fini(&x.spec);
}

static void odd_ones(void **state)
{
	char id[80] = "";
	struct run x;

	/* a name that is no host name; a directory that is not absolute */
	setup(&x);
	memset(id, 'x', 64);
	x.cli.id = id;
	x.args[0] = "true";
	go(&x, "{\"config\":{\"WorkingDir\":\"app\"}}");
	assert_string_equal(x.spec.hostname, "cor");
	assert_string_equal(x.spec.process.cwd, "/app");
	spec_fini(&x.spec);
	/* quotes, line breaks and a text that looks like JSON stay what they are */
	setup(&x);
	x.args[0] = "a\"b\n\\c\t";
	go(&x, "{\"config\":{\"Env\":[\"X=\\\"},{\\\"\"]}}");
	assert_list(&x.spec.process.args, "a\"b\n\\c\t");
	assert_string_equal(x.spec.process.env.p[2], "X=\"},{\"");
	spec_fini(&x.spec);
}

static void wrong_ones(void **state)
{
	static const struct {
		const char *config, *env, *volume, *workdir, *cpus, *says;
	} rows[] = {
		{ "[]", NULL, NULL, NULL, NULL, "image img: must be an object, found an array" },
		{ "{\"config\":{\"Cmd\":\"sh\"}}", NULL, NULL, NULL, NULL,
		  "image img: config.Cmd: must be an array, found a string" },
		{ "{\"config\":{\"Volumes\":[\"/a\"]}}", NULL, NULL, NULL, NULL,
		  "image img: config.Volumes: must be an object, found an array" },
		{ "{\"config\":{\"Labels\":{\"a\":1}}}", NULL, NULL, NULL, NULL,
		  "image img: config.Labels.a: must be a string, found a number" },
		{ bare, "A", NULL, NULL, NULL, "--env A: must be KEY=VALUE" },
		{ bare, "=A", NULL, NULL, NULL, "--env =A: must be KEY=VALUE" },
		{ bare, NULL, "/etc", NULL, NULL, "--volume /etc: must be SOURCE:DIR" },
		{ bare, NULL, "/etc:rel", NULL, NULL, "--volume /etc:rel: must be SOURCE:DIR" },
		{ bare, NULL, ":/d", NULL, NULL, "--volume :/d: must be SOURCE:DIR" },
		{ bare, NULL, "/etc:/d:rx", NULL, NULL, "--volume /etc:/d:rx: must be SOURCE:DIR" },
		{ bare, NULL, "/no/such:/d", NULL, NULL,
		  "--volume /no/such:/d: /no/such: No such file or directory" },
		{ bare, NULL, NULL, "w", NULL, "--workdir w: must be an absolute path" },
		{ bare, NULL, NULL, NULL, "0", "--cpus 0: must be a number" },
		{ bare, NULL, NULL, NULL, "-1", "--cpus -1: must be a number" },
		{ bare, NULL, NULL, NULL, "1.", "--cpus 1.: must be a number" },
		{ bare, NULL, NULL, NULL, "1.00001", "--cpus 1.00001: must be a number" },
		{ bare, NULL, NULL, NULL, "5000", "--cpus 5000: must be a number" },
		{ bare, NULL, NULL, NULL, "1.5.2", "--cpus 1.5.2: must be a number" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct run x;

		setup(&x);
		x.args[0] = "true";
		x.env[0] = rows[i].env;
		x.volume[0] = rows[i].volume;
		x.cli.image.workdir = rows[i].workdir;
		x.cli.image.cpus = rows[i].cpus;
		go(&x, rows[i].config);
		assert_true(x.r < 0);
		if (!str_starts(x.e.msg, rows[i].says))
			fail_msg("\"%s\" does not begin with \"%s\"", x.e.msg, rows[i].says);
	}
}

/* cfg may not look at image: the same default is written twice. */
static void one_store(void **state)
{
	scoped_settings s = { 0 };
	struct err e;

	assert_int_equal(settings_init(&s, "/os", &e), 0);
	assert_string_equal(s.image_store, STORE_DEFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(image_alone),          cmocka_unit_test(image_of_nothing),
		cmocka_unit_test(options_stand_before), cmocka_unit_test(odd_ones),
		cmocka_unit_test(wrong_ones),           cmocka_unit_test(one_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
