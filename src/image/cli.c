/* cli.c - the command line of cor-image: commands, options, what is printed. Called by cmd/cor-image.c.
 * Exit codes: 0, 1 = wrong usage, 2 = the operation failed. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/mark.h"
#include "base/num.h"
#include "image/clipriv.h"

#define JOBS_MAX 512

enum { EXIT_USAGE = 1, EXIT_FAILED = 2 };

static void args_fini(struct args *a)
{
	strv_fini(&a->bundles);
}
#define scoped_args __attribute__((cleanup(args_fini))) struct args

struct command {
	const char *name;
	int (*fn)(const struct args *a, const struct image_env *env, struct err *e);
	const char *arg;  /* the one argument it takes, or NULL */
	const char *help; /* one line */
};

enum opt_id {
	OPT_PACKAGE = 256,
	OPT_VMLINUZ,
	OPT_MODULES,
	OPT_KERNEL,
	OPT_BUNDLE,
	OPT_AGENT,
	OPT_OUT,
	OPT_CACHE,
	OPT_FORCE,
	OPT_DAX,
	OPT_PROFILE,
	OPT_SOURCE,
	OPT_CONFIG,
	OPT_JOBS,
	OPT_CONFIG_ONLY,
	OPT_STORE,
	OPT_NAME,
	OPT_REF,
	OPT_TYPE,
	OPT_DEVICES,
	OPT_MAX_ENTRIES,
	OPT_MAX_SIZE,
	OPT_VERITY,
};

static const struct option options[] = {
	{ "kernel-package", required_argument, NULL, OPT_PACKAGE },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "vmlinuz", required_argument, NULL, OPT_VMLINUZ },
	{ "modules", required_argument, NULL, OPT_MODULES },
	{ "bundle", required_argument, NULL, OPT_BUNDLE },
	{ "agent", required_argument, NULL, OPT_AGENT },
	{ "out", required_argument, NULL, OPT_OUT },
	{ "cache", required_argument, NULL, OPT_CACHE },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "dax", no_argument, NULL, OPT_DAX },
	{ "profile", required_argument, NULL, OPT_PROFILE },
	{ "source", required_argument, NULL, OPT_SOURCE },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "jobs", required_argument, NULL, OPT_JOBS },
	{ "config-only", no_argument, NULL, OPT_CONFIG_ONLY },
	{ "store", required_argument, NULL, OPT_STORE },
	{ "name", required_argument, NULL, OPT_NAME },
	{ "ref", required_argument, NULL, OPT_REF },
	{ "type", required_argument, NULL, OPT_TYPE },
	{ "devices", required_argument, NULL, OPT_DEVICES },
	{ "max-entries", required_argument, NULL, OPT_MAX_ENTRIES },
	{ "max-size", required_argument, NULL, OPT_MAX_SIZE },
	{ "verity", required_argument, NULL, OPT_VERITY },
	{ "json", no_argument, NULL, 'j' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'v' },
	{ NULL, 0, NULL, 0 },
};

static const char help_options[] =
	"\n"
	"Options of os:\n"
	"  --out DIR               where kernel and initrd go (default %s)\n"
	"  --kernel NAME           'stock', or the profile of a kernel that was built (default:\n"
	"                          clear if it was built, else stock)\n"
	"  --kernel-package DEB    a kernel package: a .deb file, or a name that apt knows\n"
	"  --vmlinuz F --modules D a kernel file and its /lib/modules/RELEASE directory\n"
	"                          (stock is the newest installed generic kernel, else what\n"
	"                          " KERNEL_PACKAGE " stands for, downloaded but not installed)\n"
	"  --bundle DIR            adds what this bundle holds; may be given several times\n"
	"  --agent F               the program that becomes /init (default: cor-agent beside\n"
	"                          this program, else %s/cor-agent)\n"
	"  --dax                   the root file system as an image that VMs map instead of\n"
	"                          unpacking it; only with a kernel that was built\n"
	"\n"
	"Options of kernel:\n"
	"  --profile NAME          which kernel (default " KBUILD_DEFAULT "):\n"
	"%s"
	"  --config FILE           a further fragment of configuration, which counts last\n"
	"  --config-only           make and check the configuration, compile nothing\n"
	"  --source FILE           a .deb or .tar.xz of the kernel's source, or a package's name\n"
	"                          (default " KBUILD_PACKAGE ", downloaded but not installed)\n"
	"  --jobs N                compilers at a time (default: one per processor)\n"
	"\n"
	"Options of os and kernel:\n"
	"  --cache DIR             where downloads and built kernels are kept (default $COR_CACHE,\n"
	"                          $XDG_CACHE_HOME/cor, /var/cache/cor for root, ~/.cache/cor)\n"
	"  --force                 build even if nothing changed\n"
	"\n"
	"Options of import:\n"
	"  --name NAME             what the image is called (default: what the archive says,\n"
	"                          else the file's name)\n"
	"  --ref NAME              which image, if the archive holds several\n"
	"  --type TYPE             auto (default), oci, docker, tar or dir\n"
	"  --devices POLICY        devices in a layer: usual (default: null, zero, tty and the\n"
	"                          like are taken, others an error), keep, drop, refuse\n"
	"  --max-entries N         files a layer may have (default 2000000)\n"
	"  --max-size SIZE         bytes a layer may have unpacked (default 64G)\n"
	"  --verity WORD           the kernel checks what is read of the layers (fs-verity): off\n"
	"                          (default), on (where the store's file system can), require\n"
	"\n"
	"Options of import, ls, rm, gc, verify and inspect:\n"
	"  --store DIR             where images are kept (default " STORE_DEFAULT ")\n"
	"\n"
	"Options of all commands:\n"
	"  --json                  the result as one JSON object on stdout\n"
	"  -q, --quiet             no progress lines\n"
	"  -h, --help              this text\n"
	"  -v, --version           the version\n"
	"\n"
	"Exit codes: 0 done, 1 wrong usage, 2 failed.\n";

static int cmd_os(const struct args *a, const struct image_env *env, struct err *e);
static int cmd_kernel(const struct args *a, const struct image_env *env, struct err *e);
static int cmd_verify(const struct args *a, const struct image_env *env, struct err *e);
static int cmd_ls(const struct args *a, const struct image_env *env, struct err *e);

static const struct command commands[] = {
	{ "os", cmd_os, NULL, "make the kernel and initrd that a container's VM boots from" },
	{ "kernel", cmd_kernel, NULL, "build a kernel for them from Debian's source (some minutes)" },
	{ "import", cmd_import, "SOURCE",
	  "bring a container image into the store: OCI layout, archive, directory" },
	{ "ls", cmd_ls, "[DIR]", "show the images, or what the mini-OS in DIR (with a /) consists of" },
	{ "inspect", cmd_inspect, "IMAGE", "show an image's configuration and layers as JSON" },
	{ "rm", cmd_rm, "IMAGE", "remove a name or an image; gc frees its space" },
	{ "gc", cmd_gc, NULL, "remove layers that no image has, and what crashes left" },
	{ "verify", cmd_verify, "[WHAT]",
	  "read images, one image or the mini-OS in a directory (with a /) again" },
};

static void print_help(const struct image_env *env)
{
	scoped_str profiles = { 0 };

	printf("Usage: cor-image COMMAND [OPTION ...]\n\n"
	       "Makes the mini-OS: a Linux kernel, stock or built for the purpose, and an initramfs with "
	       "Cor's "
	       "agent.\nKeeps container images, each layer as a file system that virtual machines map.\n\n"
	       "Commands:\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		printf("  %-7s %-6s %s\n", commands[i].name, commands[i].arg ? commands[i].arg : "",
		       commands[i].help);
	for (const struct kbuild_profile *p = kbuild_profiles; p->name; p++)
		str_addf(&profiles, "                            %-6s %s\n", p->name, p->what);
	printf(help_options, env->osdir, env->libexecdir, profiles.p ? profiles.p : "");
}

/* NAME as seen from this program's directory (a build tree), if it is there, else the installed one. */
static char *beside_or(const char *name, const char *dir, const char *installed)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		scoped_free char *beside = NULL;

		self[n] = '\0';
		slash = strrchr(self, '/');
		beside = slash ? str_fmt("%.*s/%s", (int)(slash - self), self, name) : NULL;
		if (beside && access(beside, R_OK) == 0)
			return take_ptr(&beside);
	}
	return str_fmt("%s/%s", dir, installed);
}

static char *default_cache(void)
{
	const char *own = getenv("COR_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (own && own[0] == '/')
		return strdup(own);
	if (xdg && xdg[0] == '/')
		return str_fmt("%s/cor", xdg);
	if (geteuid() == 0 || !home || home[0] != '/')
		return strdup("/var/cache/cor");
	return str_fmt("%s/.cache/cor", home);
}

static void add_file(struct str *s, const char *key, const struct manifest_file *f)
{
	str_addf(s, ",\"%s\":{\"size\":%llu,\"sha256\":\"%s\"}", key, (unsigned long long)f->size, f->sha256);
}

/* {"dir":...,"changed":...,...}; `changed` is left out if NULL. */
static int print_json(const char *dir, const struct manifest *m, const bool *changed, struct err *e)
{
	scoped_str s = { 0 };

	str_add(&s, "{\"dir\":");
	json_add_string(&s, dir);
	if (changed)
		str_addf(&s, ",\"changed\":%s", *changed ? "true" : "false");
	str_add(&s, ",\"release\":");
	json_add_string(&s, m->release);
	str_add(&s, ",\"origin\":");
	json_add_string(&s, m->origin);
	add_file(&s, OS_VMLINUX, &m->vmlinux);
	add_file(&s, OS_INITRD, &m->initrd);
	add_file(&s, "agent", &m->agent);
	str_add(&s, ",\"modules\":[");
	for (size_t i = 0; i < m->modules.n; i++) {
		scoped_strv part = { 0 };

		strv_split(&part, m->modules.p[i], ' ');
		if (part.n != 3)
			return err_set(e, -EBADMSG, "manifest: bad module line '%s'", m->modules.p[i]);
		str_add(&s, i ? ",{\"name\":" : "{\"name\":");
		json_add_string(&s, part.p[0]);
		str_addf(&s, ",\"boot\":%s}", str_eq(part.p[1], "boot") ? "true" : "false");
	}
	str_add(&s, "],\"bundles\":[");
	for (size_t i = 0; i < m->bundles.n; i++) {
		scoped_free char *name = strndup(m->bundles.p[i], strcspn(m->bundles.p[i], " "));

		str_add(&s, i ? "," : "");
		json_add_string(&s, name ? name : "");
	}
	str_add(&s, "]}\n");
	if (str_check(&s) < 0)
		return err_set(e, -ENOMEM, "%m");
	(void)fwrite(s.p, 1, s.len, stdout);
	return 0;
}

static int cmd_os(const struct args *a, const struct image_env *env, struct err *e)
{
	uint64_t since = mark_now_ns();
	scoped_free char *agent = beside_or("cor-agent", env->libexecdir, "cor-agent"),
			 *cache = default_cache();
	scoped_manifest m = { 0 };
	struct os_opts o = a->os;
	struct ui ui;
	bool changed;
	int r;

	if (!agent || !cache || strv_check(&a->bundles) < 0)
		return err_set(e, -ENOMEM, "%m");
	o.agent = o.agent ? o.agent : agent;
	o.out = o.out ? o.out : env->osdir;
	o.bundles = &a->bundles;
	o.kernel.cache = o.kernel.cache ? o.kernel.cache : cache;
	o.kernel.root = "";
	ui_init(&ui, a->quiet);
	r = os_build(&o, &ui, &m, &changed, e);
	if (r < 0) {
		ui_abort(&ui);
		return r;
	}
	if (a->json)
		return print_json(o.out, &m, &changed, e);
	printf("%s: kernel %s, %zu modules, agent %llu KB: %s (%.1f s)\n", o.out, m.release, m.modules.n,
	       (unsigned long long)m.agent.size / 1024, changed ? "built" : "nothing changed",
	       (double)(mark_now_ns() - since) / 1e9);
	return 0;
}

static int print_kernel(const struct args *a, const struct kernel *k, bool changed, uint64_t since,
			struct err *e)
{
	const struct {
		const char *key, *value; /* NULL: only a configuration was made */
	} parts[] = {
		{ "release", k->release }, { "origin", k->origin }, { "vmlinuz", k->vmlinuz },
		{ "modules", k->modules }, { "config", k->config },
	};
	scoped_str s = { 0 };

	if (!a->json) {
		printf("%s: %s%s: %s (%.1f s)\n", k->vmlinuz ? k->vmlinuz : k->config,
		       k->release ? "kernel " : "configuration", k->release ? k->release : "",
		       changed ? "made" : "was there already", (double)(mark_now_ns() - since) / 1e9);
		return 0;
	}
	str_addf(&s, "{\"changed\":%s", changed ? "true" : "false");
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (!parts[i].value)
			continue;
		str_addf(&s, ",\"%s\":", parts[i].key);
		json_add_string(&s, parts[i].value);
	}
	str_add(&s, "}\n");
	if (str_check(&s) < 0)
		return err_set(e, -ENOMEM, "%m");
	(void)fwrite(s.p, 1, s.len, stdout);
	return 0;
}

static int cmd_kernel(const struct args *a, const struct image_env *env, struct err *e)
{
	uint64_t since = mark_now_ns();
	scoped_free char *fragments = beside_or("../../guest", env->datadir, "kernel");
	scoped_free char *cache = default_cache();
	struct kbuild_opts o = a->kernel;
	scoped_kernel k = { 0 };
	struct ui ui;
	bool changed;
	int r;

	if (!fragments || !cache)
		return err_set(e, -ENOMEM, "%m");
	o.profile = o.profile ? o.profile : KBUILD_DEFAULT;
	o.fragments = fragments;
	o.cache = a->os.kernel.cache ? a->os.kernel.cache : cache;
	o.force = a->os.force;
	ui_init(&ui, a->quiet);
	r = kbuild_make(&o, &ui, &k, &changed, e);
	if (r < 0) {
		ui_abort(&ui);
		return r;
	}
	return print_kernel(a, &k, changed, since, e);
}

/* A directory is written as a path; no image's name begins like that. */
static bool is_dir_arg(const char *arg)
{
	return arg && (arg[0] == '/' || arg[0] == '.');
}

static int cmd_verify(const struct args *a, const struct image_env *env, struct err *e)
{
	const char *dir = a->arg;
	scoped_manifest m = { 0 };
	int r;

	if (!is_dir_arg(dir))
		return cmd_images_verify(a, env, e);
	r = os_verify(dir, &m, e);
	if (r < 0)
		return r == -ENOENT ? err_wrap(e, "no whole mini-OS in %s ('cor-image os' makes one)", dir)
				    : r;
	if (a->json)
		return print_json(dir, &m, NULL, e);
	printf("%s: as built: kernel %s, %zu modules\n", dir, m.release, m.modules.n);
	return 0;
}

static int cmd_ls(const struct args *a, const struct image_env *env, struct err *e)
{
	const char *dir = a->arg;
	scoped_manifest m = { 0 };
	int r;

	if (!is_dir_arg(dir))
		return cmd_images(a, env, e);
	r = manifest_read(dir, &m, e);
	if (r < 0)
		return r == -ENOENT ? err_wrap(e, "no mini-OS in %s ('cor-image os' makes one)", dir) : r;
	if (a->json)
		return print_json(dir, &m, NULL, e);
	printf("directory  %s\nkernel     %s (%s)\n", dir, m.release, m.origin);
	printf("vmlinux    %llu KB\ninitrd     %llu KB\nagent      %llu KB\n",
	       (unsigned long long)m.vmlinux.size / 1024, (unsigned long long)m.initrd.size / 1024,
	       (unsigned long long)m.agent.size / 1024);
	for (size_t i = 0; i < m.modules.n; i++) {
		const char *s = m.modules.p[i], *when = strchr(s, ' ');

		printf("module     %.*s%s\n", (int)strcspn(s, " "), s,
		       when && str_starts(when + 1, "boot") ? " (loaded at boot)" : "");
	}
	for (size_t i = 0; i < m.bundles.n; i++)
		printf("bundle     %.*s\n", (int)strcspn(m.bundles.p[i], " "), m.bundles.p[i]);
	return 0;
}

/* The options that take a value; false = not one of them. */
static bool take_value(int opt, struct args *a)
{
	const struct {
		enum opt_id id;
		const char **to;
	} values[] = {
		{ OPT_PACKAGE, &a->os.kernel.package },
		{ OPT_VMLINUZ, &a->os.kernel.vmlinuz },
		{ OPT_MODULES, &a->os.kernel.modules },
		{ OPT_KERNEL, &a->os.kernel.name },
		{ OPT_AGENT, &a->os.agent },
		{ OPT_OUT, &a->os.out },
		{ OPT_CACHE, &a->os.kernel.cache },
		{ OPT_PROFILE, &a->kernel.profile },
		{ OPT_SOURCE, &a->kernel.source },
		{ OPT_CONFIG, &a->kernel.config },
		{ OPT_STORE, &a->store },
		{ OPT_NAME, &a->import.name },
		{ OPT_REF, &a->import.ref },
		{ OPT_TYPE, &a->type },
		{ OPT_DEVICES, &a->devices },
		{ OPT_MAX_ENTRIES, &a->max_entries },
		{ OPT_MAX_SIZE, &a->max_size },
		{ OPT_VERITY, &a->verity },
	};

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		if ((int)values[i].id != opt)
			continue;
		*values[i].to = optarg;
		return true;
	}
	return false;
}

/* 0, 1 = printed help or version, -EINVAL = wrong usage (getopt or we said why). */
static int parse(int argc, char **argv, const struct image_env *env, struct args *a)
{
	uint64_t jobs;
	int opt;

	while ((opt = getopt_long(argc, argv, "jqhv", options, NULL)) != -1) {
		if (take_value(opt, a))
			continue;
		switch (opt) {
		case OPT_FORCE:
			a->os.force = true;
			break;
		case OPT_DAX:
			a->os.dax = true;
			break;
		case OPT_BUNDLE:
			strv_add(&a->bundles, optarg);
			break;
		case OPT_CONFIG_ONLY:
			a->kernel.config_only = true;
			break;
		case OPT_JOBS:
			if (num_parse_u64_max(optarg, JOBS_MAX, &jobs) < 0 || !jobs) {
				(void)fprintf(stderr, "cor-image: --jobs is a number from 1 to %d\n",
					      JOBS_MAX);
				return -EINVAL;
			}
			a->kernel.jobs = (unsigned)jobs;
			break;
		case 'j':
			a->json = true;
			break;
		case 'q':
			a->quiet = true;
			break;
		case 'h':
			print_help(env);
			return 1;
		case 'v':
			printf("cor-image version " COR_VERSION "\n");
			return 1;
		default:
			return -EINVAL;
		}
	}
	return 0;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (str_eq(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

static int usage(const char *problem, const char *what)
{
	if (problem)
		(void)fprintf(stderr, "cor-image: %s%s\n", problem, what);
	(void)fputs("Try 'cor-image --help'.\n", stderr);
	return EXIT_USAGE;
}

int image_cli(int argc, char **argv, const struct image_env *env)
{
	const struct command *c;
	scoped_args a = { 0 };
	const char *problem;
	struct err e = { 0 };
	int r;

	r = parse(argc, argv, env, &a);
	if (r != 0)
		return r < 0 ? usage(NULL, NULL) : 0;
	if (optind >= argc)
		return usage("a command is missing", "");
	c = find_command(argv[optind]);
	if (!c)
		return usage("unknown command: ", argv[optind]);
	if (argc - optind > 2 || (argc - optind == 2 && !c->arg))
		return usage("too many arguments: ", argv[argc - 1]);
	a.arg = optind + 1 < argc ? argv[optind + 1] : NULL;
	problem = cli_import_opts(&a);
	if (problem)
		return usage(problem, "");
	if (!a.os.kernel.vmlinuz != !a.os.kernel.modules)
		return usage("--vmlinuz and --modules belong together", "");
	if (!!a.os.kernel.vmlinuz + !!a.os.kernel.package + !!a.os.kernel.name > 1)
		return usage("only one of --kernel, --kernel-package and --vmlinuz", "");
	r = c->fn(&a, env, &e);
	if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		r = err_set(&e, -EIO, "can't write the result to stdout");
	if (r < 0) {
		(void)fprintf(stderr, "cor-image: %s\n", e.msg);
		return EXIT_FAILED;
	}
	return 0;
}
