/* kbuild.c - see kbuild.h: the way of one build. Called by cli.c and kernel.c.
 *
 * Trusts the source, as anything must that runs its makefiles: it is a package that apt has checked, or a
 * file that the user names. The fragments are checked line by line, and what the kernel's own configuration
 * made of them is compared with them before anything is compiled. Never: installs, writes outside the cache,
 * leaves a half-built kernel where a whole one is looked for. */
#include "image/kbuild.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/io.h"
#include "base/sha256.h"
#include "image/child.h"
#include "image/elf.h"
#include "image/fetch.h"
#include "image/kconfig.h"

/* Names in the build's directory. fetch_cache_open() removes "tmp.*". */
#define BUILD_DIR "build"
#define TMP_DEB   "tmp.deb"
#define TMP_SRC   "tmp.src"
#define TMP_OBJ   "tmp.obj"
#define TMP_OUT   "tmp.out"

/* Counts changes of what a build makes from equal inputs. */
#define FORMAT        "cor-kbuild 1"
#define FRAGMENT_MAX  (1u << 20)
#define TEXT_MAX      (4u << 20)
#define KERNEL_MAX    (1u << 30)
#define SPACE_NEEDED  (4ull << 30) /* 1.8 GB of source, 0.5 GB of objects */
#define DROPPED_SHOWN 12

const struct kbuild_profile kbuild_profiles[] = {
	{ "clear", { "base", "clear" }, 2000, "one container: the quickest start and the least memory" },
	{ "full",
	  { "base", "clear", "full" },
	  3300,
	  "also packet filters, bridges, tunnels, containers in the container" },
	{ NULL, { NULL }, 0, NULL },
};

/* Programs that the kernel's makefiles call, and libelf's header. */
static const struct {
	const char *file, *package;
} needs[] = {
	{ "gcc", "gcc" },   { "ld", "binutils" }, { "make", "make" },
	{ "flex", "flex" }, { "bison", "bison" }, { "bc", "bc" },
	{ "tar", "tar" },   { "xz", "xz-utils" }, { "/usr/include/libelf.h", "libelf-dev" },
	{ "perl", "perl" },
};

/* What would change a build from outside. */
static const char *const unset[] = {
	"MAKEFLAGS",
	"MAKELEVEL",
	"MFLAGS",
	"MAKEFILES",
	"ARCH",
	"CROSS_COMPILE",
	"LLVM",
	"KCFLAGS",
	"KAFLAGS",
	"KCPPFLAGS",
	"LOCALVERSION",
	"KBUILD_OUTPUT",
	"KBUILD_EXTMOD",
	"KCONFIG_CONFIG",
	"HOSTCFLAGS",
	"HOSTLDFLAGS",
	"CFLAGS",
	"LDFLAGS",
	"V",
	"W",
	"C",
	NULL,
};

struct build {
	const struct kbuild_opts *o;
	const struct kbuild_profile *profile;
	struct ui *ui;
	char *dir;    /* owned: CACHE/build */
	int dirfd;    /* ... locked */
	int log;      /* what make says on stderr */
	char *source; /* owned: path of a .deb or tarball */
	char *origin; /* owned: what it is, in words */
	struct kconfig config;
	char key[SHA256_HEX];
	char *name;    /* owned: of the result in `dir` */
	char *release; /* owned */
	unsigned done; /* files made so far */
};

static void build_fini(struct build *b)
{
	scope_close(&b->dirfd);
	scope_close(&b->log);
	free(b->dir);
	free(b->source);
	free(b->origin);
	free(b->name);
	free(b->release);
	kconfig_fini(&b->config);
}
#define scoped_build __attribute__((cleanup(build_fini))) struct build

int kbuild_profile(const char *name, const struct kbuild_profile **ret, struct err *e)
{
	scoped_str all = { 0 };

	for (const struct kbuild_profile *p = kbuild_profiles; p->name; p++) {
		if (str_eq(p->name, name)) {
			*ret = p;
			return 0;
		}
		str_addf(&all, "%s%s", all.len ? ", " : "", p->name);
	}
	return err_set(e, -EINVAL, "no kernel profile '%s': there are %s", name, all.p ? all.p : "");
}

static bool in_path(const char *tool)
{
	const char *path = getenv("PATH");
	scoped_strv dirs = { 0 };

	if (*tool == '/')
		return access(tool, R_OK) == 0;
	strv_split(&dirs, path ? path : "/usr/bin:/bin", ':');
	for (size_t i = 0; i < dirs.n; i++) {
		scoped_free char *file = str_fmt("%s/%s", dirs.p[i], tool);

		if (file && access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static int check_needs(struct err *e)
{
	scoped_str missing = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(needs); i++) {
		if (!in_path(needs[i].file))
			str_addf(&missing, " %s", needs[i].package);
	}
	if (!missing.len)
		return 0;
	return err_set(e, -ENOENT, "to compile a kernel, install the packages%s", missing.p);
}

static int add_fragment(struct build *b, const char *path, struct err *e)
{
	scoped_free char *text = NULL;
	size_t len;
	int r;

	r = io_read_file_at(AT_FDCWD, path, FRAGMENT_MAX, &text, &len);
	if (r < 0)
		return err_set(e, r, "kernel configuration %s: %m", path);
	if (strlen(text) != len)
		return err_set(e, -EINVAL, "kernel configuration %s: holds a NUL byte", path);
	return kconfig_add(&b->config, text, path, e);
}

static int merge(struct build *b, struct err *e)
{
	int r = 0;

	for (const char *const *name = b->profile->fragments; r == 0 && *name; name++) {
		scoped_free char *path = str_fmt("%s/%s.config", b->o->fragments, *name);

		r = path ? add_fragment(b, path, e) : err_set(e, -ENOMEM, "%m");
	}
	if (r == 0 && b->o->config)
		r = add_fragment(b, b->o->config, e);
	return r;
}

/* An older source package than the newest one is better than none, without a network. */
static bool is_source_deb(const char *file)
{
	return str_starts(file, KBUILD_PACKAGE "_");
}

/* Sets b->source and b->origin; *ret_id identifies the bytes. */
static int find_source(struct build *b, char **ret_id, struct err *e)
{
	const char *given = b->o->source ? b->o->source : KBUILD_PACKAGE, *base;
	scoped_free char *file = NULL;
	struct stat st;
	int r;

	if (!strchr(given, '/')) {
		r = fetch_package(given, str_eq(given, KBUILD_PACKAGE) ? is_source_deb : NULL, b->dir,
				  b->dirfd, b->ui, &file, e);
		if (r < 0)
			return r;
		b->source = str_fmt("%s/%s", b->dir, file);
	} else {
		b->source = strdup(given);
	}
	if (!b->source)
		return err_set(e, -ENOMEM, "%m");
	if (stat(b->source, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(e, -ENOENT, "--source %s: no such file", b->source);
	base = strrchr(b->source, '/') + 1;
	b->origin = str_fmt("built %s of %s", b->profile->name, base);
	/* A package's name has its version in it; any other file is known by its time. */
	*ret_id = file ? strdup(file)
		       : str_fmt("%s %lld %lld.%09ld", base, (long long)st.st_size,
				 (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	return b->origin && *ret_id ? 0 : err_set(e, -ENOMEM, "%m");
}

static int add_version(const char *tool, struct str *to, struct err *e)
{
	const char *const argv[] = { tool, "--version", NULL };
	scoped_free char *text = NULL;
	size_t len;
	int r;

	r = child_output(argv, NULL, 0, TEXT_MAX, &text, &len, e);
	if (r == 0)
		str_addf(to, "%.*s\n", (int)strcspn(text, "\n"), text);
	return r;
}

/* b->key and b->name. */
static int make_key(struct build *b, const char *source_id, struct err *e)
{
	scoped_str all = { 0 };
	int r;

	str_addf(&all, FORMAT "\n%s\n", source_id);
	r = kconfig_format(&b->config, &all, e);
	if (r == 0)
		r = add_version("gcc", &all, e);
	if (r == 0)
		r = add_version("ld", &all, e);
	if (r < 0)
		return r;
	if (str_check(&all) < 0)
		return err_set(e, -ENOMEM, "%m");
	sha256_hex(all.p, all.len, b->key);
	b->name = str_fmt("%s.%.16s", b->profile->name, b->key);
	return b->name ? 0 : err_set(e, -ENOMEM, "%m");
}

/* The file of the unpacked package that is the source. */
static char *tarball_in(const char *all)
{
	scoped_free char *dir = str_fmt("%s/usr/src", all);
	scoped_dir d = dir ? opendir(dir) : NULL;
	struct dirent *de;

	while (d && (de = readdir(d))) {
		if (str_starts(de->d_name, "linux-source-") && str_ends(de->d_name, ".tar.xz"))
			return str_fmt("%s/%s", dir, de->d_name);
	}
	return NULL;
}

static int check_space(const struct build *b, struct err *e)
{
	struct statvfs st;

	if (statvfs(b->dir, &st) < 0)
		return err_set(e, -errno, "%s: %m", b->dir);
	if ((unsigned long long)st.f_bavail * st.f_frsize < SPACE_NEEDED)
		return err_set(e, -ENOSPC,
			       "%s: a kernel's build needs %llu GB of free space: remove something, or give "
			       "another --cache",
			       b->dir, SPACE_NEEDED >> 30);
	return 0;
}

static int unpack_tar(const struct build *b, const char *tarball, struct err *e)
{
	scoped_free char *src = str_fmt("%s/" TMP_SRC, b->dir);
	scoped_free char *makefile = str_fmt("%s/" TMP_SRC "/Makefile", b->dir);
	/* tar itself refuses members that lead out of the directory. */
	const char *const argv[] = { "tar", "-xf", tarball, "--strip-components=1", "--no-same-owner",
				     "-C",  src,   NULL };
	const struct child c = { .argv = argv, .in_fd = -1, .out_fd = -1 };
	int r;

	if (!src || !makefile)
		return err_set(e, -ENOMEM, "%m");
	r = io_mkdirs(src, 0755);
	r = r < 0 ? err_set(e, r, "%s: %m", src) : child_run(&c, e);
	if (r < 0)
		return err_wrap(e, "%s", tarball);
	if (access(makefile, R_OK) < 0)
		return err_set(e, -ENOENT, "%s: no source of a kernel: it has no Makefile", tarball);
	return 0;
}

static int unpack(const struct build *b, struct err *e)
{
	scoped_free char *all = str_fmt("%s/" TMP_DEB, b->dir), *tarball = NULL;
	const char *const argv[] = { "dpkg-deb", "-x", b->source, all, NULL };
	const struct child c = { .argv = argv, .in_fd = -1, .out_fd = -1 };
	int r;

	ui_step(b->ui, "unpack", "%s", strrchr(b->source, '/') + 1);
	r = check_space(b, e);
	if (r < 0)
		return r;
	if (str_ends(b->source, ".deb")) {
		if (!all)
			return err_set(e, -ENOMEM, "%m");
		r = child_run(&c, e);
		tarball = r < 0 ? NULL : tarball_in(all);
		if (r == 0 && !tarball)
			r = err_set(e, -ENOENT, "it holds no usr/src/linux-source-*.tar.xz");
		if (r < 0)
			return err_wrap(e, "%s", b->source);
	}
	r = unpack_tar(b, tarball ? tarball : b->source, e);
	if (r < 0)
		return r;
	r = io_remove_tree_at(b->dirfd, TMP_DEB);
	if (r < 0)
		return err_set(e, r, "%s: %m", all);
	ui_done(b->ui);
	return 0;
}

/* make names each file it makes, indented by two blanks. */
static void count_file(void *arg, const char *line)
{
	struct build *b = arg;
	unsigned percent;

	if (!str_starts(line, "  "))
		return;
	b->done++;
	percent = b->done * 100 / b->profile->files;
	ui_percent(b->ui, percent < 99 ? percent : 99);
}

/* The first line with "error" that the compiler said: make's own last words name only a target. */
static void add_cause(const struct build *b, struct str *to)
{
	scoped_free char *text = NULL, *line = NULL;
	const char *at;
	size_t len;

	if (lseek(b->log, 0, SEEK_SET) < 0 || io_read_all(b->log, TEXT_MAX, &text, &len) < 0)
		return;
	at = strstr(text, "rror:");
	while (at && at > text && at[-1] != '\n')
		at--;
	if (!at)
		return;
	line = strndup(at, strcspn(at, "\n"));
	str_add(to, ": ");
	str_add_escaped(to, line ? line : "", line ? strlen(line) : 0);
}

/* make -C SOURCE O=OBJECTS ... TARGET. A build's date is its source's. */
static int run_make(struct build *b, const char *extra, const char *target, struct err *e)
{
	scoped_free char *src = str_fmt("%s/" TMP_SRC, b->dir), *obj = str_fmt("O=%s/" TMP_OBJ, b->dir);
	scoped_free char *jobs = NULL, *date = NULL, *makefile = str_fmt("%s/" TMP_SRC "/Makefile", b->dir);
	long cpus = b->o->jobs ? (long)b->o->jobs : sysconf(_SC_NPROCESSORS_ONLN);
	scoped_str cause = { 0 };
	struct stat st;
	int r;

	if (!src || !obj || !makefile)
		return err_set(e, -ENOMEM, "%m");
	if (stat(makefile, &st) < 0)
		return err_set(e, -errno, "%s: %m", makefile);
	jobs = str_fmt("-j%ld", cpus > 0 ? cpus : 1);
	date = str_fmt("KBUILD_BUILD_TIMESTAMP=@%lld", (long long)st.st_mtim.tv_sec);
	if (!jobs || !date)
		return err_set(e, -ENOMEM, "%m");
	{
		const char *const argv[] = { "make",
					     "-C",
					     src,
					     obj,
					     jobs,
					     "ARCH=x86_64",
					     "CC=gcc",
					     "HOSTCC=gcc",
					     "KBUILD_BUILD_USER=cor",
					     "KBUILD_BUILD_HOST=cor",
					     "KBUILD_BUILD_VERSION=1",
					     date,
					     extra,
					     target,
					     NULL };
		const struct child c = { .argv = argv,
					 .in_fd = -1,
					 .out_fd = -1,
					 .line = count_file,
					 .arg = b,
					 .log_fd = b->log,
					 .unset = unset };

		r = child_run(&c, e);
	}
	if (r >= 0)
		return 0;
	add_cause(b, &cause);
	return cause.len ? err_set(e, r, "kernel's make %s%s (all of it: %s/log)", target, cause.p, b->dir)
			 : err_wrap(e, "kernel's make %s (all of it: %s/log)", target, b->dir);
}

static int read_obj(const struct build *b, const char *name, char **ret, struct err *e)
{
	scoped_free char *path = str_fmt(TMP_OBJ "/%s", name);
	size_t len;
	int r;

	r = path ? io_read_file_at(b->dirfd, path, TEXT_MAX, ret, &len) : -ENOMEM;
	return r < 0 ? err_set(e, r, "kernel's build: %s: %m", name) : 0;
}

static int check_config(const struct build *b, struct err *e)
{
	scoped_free char *text = NULL;
	scoped_strv dropped = { 0 };
	scoped_str names = { 0 };
	int r;

	r = read_obj(b, ".config", &text, e);
	if (r == 0)
		r = kconfig_check(&b->config, text, &dropped, e);
	if (r < 0 || !dropped.n)
		return r;
	for (size_t i = 0; i < dropped.n && i < DROPPED_SHOWN; i++)
		str_addf(&names, " %s", dropped.p[i]);
	if (dropped.n > DROPPED_SHOWN)
		str_addf(&names, " and %zu more", dropped.n - DROPPED_SHOWN);
	return err_set(e, -EINVAL,
		       "this kernel's configuration did not take%s: something they depend on is off (or, for "
		       "=n, something on needs them), or there is no such option",
		       names.p ? names.p : "");
}

/* Writes the merged fragments, lets the kernel's own tool complete them, compares. */
static int configure(struct build *b, struct err *e)
{
	scoped_free char *obj = str_fmt("%s/" TMP_OBJ, b->dir);
	scoped_free char *all = str_fmt("KCONFIG_ALLCONFIG=%s/" TMP_OBJ "/all.config", b->dir);
	scoped_str text = { 0 };
	int r;

	ui_step(b->ui, "config", "%zu options", b->config.n);
	if (!obj || !all)
		return err_set(e, -ENOMEM, "%m");
	r = io_mkdirs(obj, 0755);
	if (r < 0)
		return err_set(e, r, "%s: %m", obj);
	r = kconfig_format(&b->config, &text, e);
	if (r < 0)
		return r;
	r = io_replace_file_at(b->dirfd, TMP_OBJ "/all.config", text.p, text.len, 0644);
	if (r < 0)
		return err_set(e, r, "%s: %m", obj);
	r = run_make(b, all, "allnoconfig", e);
	if (r == 0)
		r = check_config(b, e);
	ui_done(b->ui);
	return r;
}

static int compile(struct build *b, struct err *e)
{
	scoped_free char *release = NULL;
	int r;

	ui_step(b->ui, "compile", "Linux with -j%u",
		b->o->jobs ? b->o->jobs : (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
	b->done = 0;
	r = run_make(b, "KCFLAGS=", "vmlinux", e);
	if (r == 0)
		r = read_obj(b, "include/config/kernel.release", &release, e);
	if (r < 0)
		return r;
	b->release = strndup(release, strcspn(release, "\n"));
	if (!b->release)
		return err_set(e, -ENOMEM, "%m");
	if (!*b->release || strchr(b->release, '/'))
		return err_set(e, -EBADMSG, "kernel's build: a strange release '%s'", b->release);
	ui_percent(b->ui, 100);
	ui_done(b->ui);
	return 0;
}

static int put(const struct build *b, const char *name, const void *p, size_t n, struct err *e)
{
	scoped_free char *path = str_fmt("%s/" TMP_OUT "/%s", b->dir, name);
	scoped_free char *dir = path ? strndup(path, (size_t)(strrchr(path, '/') - path)) : NULL;
	int r;

	if (!path || !dir)
		return err_set(e, -ENOMEM, "%m");
	r = io_mkdirs(dir, 0755);
	if (r == 0)
		r = io_replace_file_at(AT_FDCWD, path, p, n, 0644);
	return r < 0 ? err_set(e, r, "%s: %m", path) : 0;
}

static int put_kernel(const struct build *b, struct err *e)
{
	scoped_free char *data = NULL, *name = str_fmt("boot/vmlinuz-%s", b->release);
	size_t len;
	int r;

	if (!name)
		return err_set(e, -ENOMEM, "%m");
	r = io_read_file_at(b->dirfd, TMP_OBJ "/vmlinux", KERNEL_MAX, &data, &len);
	if (r < 0)
		return err_set(e, r, "kernel's build: vmlinux: %m");
	r = elf_trim_kernel(data, &len, e);
	return r < 0 ? err_wrap(e, "kernel's build: vmlinux") : put(b, name, data, len, e);
}

/* The directory of a result: an ELF kernel where an installed one would be, the configuration, and a modules
 * directory that says that all is built in. */
static int collect(const struct build *b, struct err *e)
{
	scoped_free char *order = str_fmt("lib/modules/%s/modules.order", b->release);
	scoped_free char *builtin = str_fmt("lib/modules/%s/modules.builtin", b->release);
	scoped_free char *config = NULL, *list = NULL;
	int r;

	if (!order || !builtin)
		return err_set(e, -ENOMEM, "%m");
	r = put_kernel(b, e);
	if (r == 0)
		r = read_obj(b, ".config", &config, e);
	if (r == 0)
		r = read_obj(b, "modules.builtin", &list, e);
	if (r == 0)
		r = put(b, "config", config, strlen(config), e);
	if (r == 0)
		r = put(b, builtin, list, strlen(list), e);
	if (r == 0)
		r = put(b, order, "", 0, e);
	return r == 0 ? put(b, "origin", b->origin, strlen(b->origin), e) : r;
}

/* Into its place; the profile's name stands for it from now on. */
static int publish(const struct build *b, struct err *e)
{
	int r;

	r = io_remove_tree_at(b->dirfd, b->name);
	if (r == 0 && renameat(b->dirfd, TMP_OUT, b->dirfd, b->name) < 0)
		r = -errno;
	return r < 0 ? err_set(e, r, "%s/%s: %m", b->dir, b->name) : 0;
}

static int remove_parts(const struct build *b, struct err *e)
{
	static const char *const parts[] = { TMP_DEB, TMP_SRC, TMP_OBJ, TMP_OUT };
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		if (r == 0)
			r = io_remove_tree_at(b->dirfd, parts[i]);
	}
	return r < 0 ? err_set(e, r, "%s: can't remove temporary files: %m", b->dir) : 0;
}

/* The configuration beside the built kernels. */
static int keep_config(const struct build *b, const char *name, struct err *e)
{
	scoped_free char *config = NULL;
	int r;

	r = read_obj(b, ".config", &config, e);
	if (r < 0)
		return r;
	r = io_replace_file_at(b->dirfd, name, config, strlen(config), 0644);
	return r < 0 ? err_set(e, r, "%s/%s: %m", b->dir, name) : 0;
}

static int build_all(struct build *b, const char *config, struct err *e)
{
	int r;

	b->log = openat(b->dirfd, "log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
	if (b->log < 0)
		return err_set(e, -errno, "%s/log: %m", b->dir);
	r = unpack(b, e);
	if (r == 0)
		r = configure(b, e);
	if (r == 0)
		r = keep_config(b, config, e);
	if (r < 0 || b->o->config_only)
		return r;
	r = compile(b, e);
	if (r == 0)
		r = collect(b, e);
	if (r == 0)
		r = publish(b, e);
	return r;
}

static int load(const char *dir, const char *name, struct kernel *ret, struct err *e)
{
	scoped_free char *root = str_fmt("%s/%s", dir, name), *origin = str_fmt("%s/%s/origin", dir, name);
	scoped_kernel k = { 0 };
	size_t len;
	int r;

	if (!root || !origin)
		return err_set(e, -ENOMEM, "%m");
	r = kernel_in_root(root, false, &k, e);
	if (r < 0)
		return r;
	r = io_read_file_at(AT_FDCWD, origin, FRAGMENT_MAX, &k.origin, &len);
	if (r < 0)
		return err_set(e, r, "%s: %m", origin);
	k.config = str_fmt("%s/config", root);
	if (!k.config)
		return err_set(e, -ENOMEM, "%m");
	*ret = k;
	k = (struct kernel){ 0 };
	return 0;
}

/* Tells kbuild_find(). */
static int remember(const struct build *b, struct err *e)
{
	int r = io_replace_file_at(b->dirfd, b->profile->name, b->name, strlen(b->name), 0644);

	return r < 0 ? err_set(e, r, "%s/%s: %m", b->dir, b->profile->name) : 0;
}

/* Is what was asked for there already? A configuration is one file. */
static bool is_there(const struct build *b, const char *config, struct kernel *ret)
{
	if (b->o->force)
		return false;
	return b->o->config_only ? faccessat(b->dirfd, config, R_OK, 0) == 0
				 : load(b->dir, b->name, ret, NULL) == 0;
}

static int make_or_take(struct build *b, struct kernel *ret, bool *ret_changed, struct err *e)
{
	scoped_free char *config = str_fmt("%s.config", b->name);
	int r = 0, cleaned;

	if (!config)
		return err_set(e, -ENOMEM, "%m");
	*ret_changed = !is_there(b, config, ret);
	if (*ret_changed) {
		r = check_needs(e);
		if (r == 0)
			r = build_all(b, config, e);
		cleaned = remove_parts(b, r < 0 ? NULL : e);
		r = r < 0 ? r : cleaned;
	}
	if (r < 0)
		return r;
	if (b->o->config_only) {
		ret->config = str_fmt("%s/%s", b->dir, config);
		return ret->config ? 0 : err_set(e, -ENOMEM, "%m");
	}
	if (*ret_changed)
		r = load(b->dir, b->name, ret, e);
	return r == 0 ? remember(b, e) : r;
}

int kbuild_make(const struct kbuild_opts *o, struct ui *ui, struct kernel *ret, bool *ret_changed,
		struct err *e)
{
	scoped_build b = { .o = o, .ui = ui, .dirfd = -1, .log = -1 };
	scoped_free char *id = NULL;
	int r;

	r = kbuild_profile(o->profile, &b.profile, e);
	if (r == 0)
		r = merge(&b, e);
	if (r < 0)
		return r;
	b.dir = str_fmt("%s/" BUILD_DIR, o->cache);
	if (!b.dir)
		return err_set(e, -ENOMEM, "%m");
	r = fetch_cache_open(b.dir, &b.dirfd, e);
	if (r == 0)
		r = find_source(&b, &id, e);
	if (r == 0)
		r = make_key(&b, id, e);
	return r == 0 ? make_or_take(&b, ret, ret_changed, e) : r;
}

int kbuild_find(const char *cache, const char *profile, struct kernel *ret, struct err *e)
{
	const struct kbuild_profile *p = NULL;
	scoped_free char *dir = str_fmt("%s/" BUILD_DIR, cache), *note = NULL, *name = NULL;
	size_t len;
	int r;

	r = kbuild_profile(profile, &p, e);
	if (r < 0)
		return r;
	note = dir ? str_fmt("%s/%s", dir, p->name) : NULL;
	if (!note)
		return err_set(e, -ENOMEM, "%m");
	r = io_read_file_at(AT_FDCWD, note, FRAGMENT_MAX, &name, &len);
	if (r == 0 && (strchr(name, '/') || !str_starts(name, p->name)))
		r = -ENOENT;
	if (r == 0)
		r = load(dir, name, ret, NULL);
	if (r < 0)
		return err_set(e, -ENOENT,
			       "no kernel of profile %s in %s: 'cor-image kernel --profile %s' builds it",
			       p->name, dir, p->name);
	return 0;
}
