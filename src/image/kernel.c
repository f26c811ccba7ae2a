/* kernel.c - see kernel.h. Called by os.c. Trusts the machine's /boot and /lib/modules and apt's
 * packages; what is in them is checked later (bzimage, elf, modules). Never: installs a package,
 * touches the machine's own kernels. */
#include "image/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image/bzimage.h"
#include "image/child.h"
#include "image/elf.h"
#include "image/fetch.h"
#include "image/kbuild.h"
#include "image/modules.h"

#define VMLINUZ_MAX  (1u << 30)
#define NAME_VMLINUZ "vmlinuz-"

void kernel_fini(struct kernel *k)
{
	free(k->vmlinuz);
	free(k->modules);
	free(k->release);
	free(k->origin);
	free(k->config);
	*k = (struct kernel){ 0 };
}

bool kernel_is_generic(const char *release)
{
	return str_ends(release, "-amd64") && !str_ends(release, "-cloud-amd64") &&
	       !str_ends(release, "-rt-amd64");
}

/* ROOT/lib/modules/RELEASE, or below /usr, if it is there; else NULL. */
static char *modules_dir(const char *root, const char *release)
{
	static const char *const places[] = { "usr/lib/modules", "lib/modules" };

	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		scoped_free char *dir = str_fmt("%s/%s/%s", root, places[i], release);
		scoped_free char *index = str_fmt("%s/%s/%s/modules.order", root, places[i], release);

		if (dir && index && access(index, R_OK) == 0)
			return take_ptr(&dir);
	}
	return NULL;
}

int kernel_in_root(const char *root, bool generic, struct kernel *ret, struct err *e)
{
	scoped_free char *boot = str_fmt("%s/boot", root);
	scoped_dir d = boot ? opendir(boot) : NULL;
	scoped_kernel k = { 0 };
	struct dirent *de;

	while (d && (de = readdir(d))) {
		const char *release = de->d_name + strlen(NAME_VMLINUZ);
		scoped_free char *modules = NULL;

		if (!str_starts(de->d_name, NAME_VMLINUZ) || (generic && !kernel_is_generic(release)))
			continue;
		if (k.release && strverscmp(release, k.release) <= 0)
			continue;
		modules = modules_dir(root, release);
		if (!modules)
			continue;
		kernel_fini(&k);
		k.release = strdup(release);
		k.vmlinuz = str_fmt("%s/%s", boot, de->d_name);
		k.modules = take_ptr(&modules);
		if (!k.release || !k.vmlinuz)
			return err_set(e, -ENOMEM, "%m");
	}
	if (!k.release)
		return err_set(e, -ENOENT, "no kernel with its modules in %s/boot and %s/lib/modules", root,
			       root);
	*ret = k;
	k = (struct kernel){ 0 };
	return 0;
}

/* --vmlinuz and --modules. The release is what the kernel says; an ELF kernel is asked by the name
 * of its modules directory (every module is checked against it anyway). */
static int take_given(const struct kernel_opts *o, struct kernel *ret, struct err *e)
{
	scoped_free char *data = NULL, *clean = str_clean_path(o->modules);
	scoped_kernel k = { 0 };
	struct bzimage b = { 0 };
	const char *release;
	size_t len;
	int r;

	if (!clean)
		return err_set(e, -ENOMEM, "%m");
	r = io_read_file_at(AT_FDCWD, o->vmlinuz, VMLINUZ_MAX, &data, &len);
	if (r < 0)
		return err_set(e, r, "--vmlinuz %s: %m", o->vmlinuz);
	r = elf_is(data, len) ? 0 : bzimage_parse(data, len, &b, e);
	if (r < 0)
		return err_wrap(e, "--vmlinuz %s", o->vmlinuz);
	release = strrchr(clean, '/');
	release = *b.release ? b.release : release ? release + 1 : clean;
	k.release = strdup(release);
	k.vmlinuz = strdup(o->vmlinuz);
	k.modules = take_ptr(&clean);
	k.origin = str_fmt("file %s", o->vmlinuz);
	if (!k.release || !k.vmlinuz || !k.origin)
		return err_set(e, -ENOMEM, "%m");
	*ret = k;
	k = (struct kernel){ 0 };
	return 0;
}

static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
}

/* Moves FROM/rel to TO/rel with the directories above it. */
static int move_file(const char *from, const char *to, const char *rel, struct err *e)
{
	scoped_free char *a = str_fmt("%s/%s", from, rel);
	scoped_free char *b = str_fmt("%s/%s", to, rel);
	scoped_free char *dir = b ? parent_of(b) : NULL;
	int r;

	if (!a || !b || !dir)
		return err_set(e, -ENOMEM, "%m");
	r = io_mkdirs(dir, 0755);
	if (r < 0)
		return err_set(e, r, "%s: %m", dir);
	return rename(a, b) < 0 ? err_set(e, -errno, "rename %s to %s: %m", a, b) : 0;
}

static const struct module_want *wants_of(const struct kernel_opts *o)
{
	return o->wants ? o->wants : module_table;
}

/* Keeps of an unpacked package what a build reads: a few MB of 400. */
static int keep_needed(const struct kernel_opts *o, const char *all, const char *slim, struct err *e)
{
	static const char *const indexes[] = { "modules.order", "modules.builtin" };
	scoped_kernel k = { 0 };
	scoped_modset set = { 0 };
	scoped_fd fd = -1;
	const char *rel;
	int r;

	r = kernel_in_root(all, false, &k, NULL);
	if (r < 0)
		return err_set(e, r, "it holds no kernel (boot/vmlinuz-RELEASE with lib/modules/RELEASE)");
	fd = open(k.modules, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "%s: %m", k.modules);
	r = modset_load(&set, fd, k.release, wants_of(o), e);
	if (r == 0)
		r = move_file(all, slim, k.vmlinuz + strlen(all) + 1, e);
	rel = k.modules + strlen(all) + 1;
	for (size_t i = 0; r == 0 && i < set.n + ARRAY_LEN(indexes); i++) {
		const char *file = i < set.n ? set.p[i].file : indexes[i - set.n];
		scoped_free char *path = str_fmt("%s/%s", rel, file);

		r = path ? move_file(all, slim, path, e) : err_set(e, -ENOMEM, "%m");
	}
	return r;
}

/* Unpacks a .deb to CACHE/name. */
static int unpack(const struct kernel_opts *o, const char *deb, int cache_fd, const char *name, struct err *e)
{
	scoped_free char *all = str_fmt("%s/tmp.all", o->cache);
	scoped_free char *slim = str_fmt("%s/tmp.slim", o->cache);
	const char *const argv[] = { "dpkg-deb", "-x", deb, all, NULL };
	const struct child c = { .argv = argv, .in_fd = -1, .out_fd = -1 };
	int r;

	if (!all || !slim)
		return err_set(e, -ENOMEM, "%m");
	r = io_mkdirs(slim, 0755);
	r = r < 0 ? err_set(e, r, "%s: %m", slim) : child_run(&c, e);
	if (r == 0)
		r = keep_needed(o, all, slim, e);
	if (r == 0 && renameat(cache_fd, "tmp.slim", cache_fd, name) < 0)
		r = err_set(e, -errno, "%s/%s: %m", o->cache, name);
	if (io_remove_tree_at(cache_fd, "tmp.all") < 0 || io_remove_tree_at(cache_fd, "tmp.slim") < 0)
		return r < 0 ? r : err_set(e, -EIO, "%s: can't remove temporary files", o->cache);
	return r < 0 ? err_wrap(e, "%s", deb) : 0;
}

/* The unpacked form of a .deb, from the cache if it is there. The name holds what identifies the
 * file and which modules were kept. */
static int from_deb(const struct kernel_opts *o, const char *deb, int cache_fd, struct ui *ui,
		    struct kernel *ret, struct err *e)
{
	scoped_free char *name = NULL, *id = NULL, *root = NULL;
	const char *base = strrchr(deb, '/');
	char wants[SHA256_HEX], key[SHA256_HEX];
	struct stat st;
	int r;

	base = base ? base + 1 : deb;
	if (stat(deb, &st) < 0)
		return err_set(e, -errno, "--kernel-package %s: %m", deb);
	r = module_wants_digest(wants_of(o), wants, e);
	if (r < 0)
		return r;
	id = str_fmt("%s %lld %lld.%09ld %s", base, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
		     st.st_mtim.tv_nsec, wants);
	if (!id)
		return err_set(e, -ENOMEM, "%m");
	sha256_hex(id, strlen(id), key);
	name = str_fmt("%.*s.%.16s", (int)(strlen(base) - (str_ends(base, ".deb") ? 4 : 0)), base, key);
	root = name ? str_fmt("%s/%s", o->cache, name) : NULL;
	if (!root)
		return err_set(e, -ENOMEM, "%m");
	if (access(root, F_OK) < 0) {
		ui_step(ui, "unpack", "%s (%.1f MB)", base, (double)st.st_size / 1e6);
		r = unpack(o, deb, cache_fd, name, e);
		if (r < 0)
			return r;
		ui_done(ui);
	}
	r = kernel_in_root(root, false, ret, e);
	if (r < 0)
		return r;
	ret->origin = str_fmt("package %.*s", (int)(strlen(base) - (str_ends(base, ".deb") ? 4 : 0)), base);
	return ret->origin ? 0 : err_set(e, -ENOMEM, "%m");
}

/* A linux-image-*.deb that stands in for the newest one. */
static bool is_generic_deb(const char *file)
{
	scoped_free char *flavour = strndup(file, strcspn(file, "_"));

	return str_starts(file, "linux-image-") && flavour && kernel_is_generic(flavour);
}

static int from_apt(const struct kernel_opts *o, const char *name, int cache_fd, struct ui *ui,
		    struct kernel *ret, struct err *e)
{
	const bool any = str_eq(name, KERNEL_PACKAGE);
	scoped_free char *file = NULL, *deb = NULL;
	int r;

	r = fetch_package(name, any ? is_generic_deb : NULL, o->cache, cache_fd, ui, &file, e);
	if (r < 0)
		return r;
	deb = str_fmt("%s/%s", o->cache, file);
	if (!deb)
		return err_set(e, -ENOMEM, "%m");
	return from_deb(o, deb, cache_fd, ui, ret, e);
}

/* The newest kernel of the distribution. */
static int find_stock(const struct kernel_opts *o, struct ui *ui, struct kernel *ret, struct err *e)
{
	const char *package = o->package ? o->package : KERNEL_PACKAGE;
	scoped_fd cache_fd = -1;
	int r;

	if (!o->package && kernel_in_root(o->root, true, ret, NULL) == 0) {
		ret->origin = str_fmt("installed %s", ret->vmlinuz);
		return ret->origin ? 0 : err_set(e, -ENOMEM, "%m");
	}
	r = fetch_cache_open(o->cache, &cache_fd, e);
	if (r < 0)
		return r;
	if (strchr(package, '/') || str_ends(package, ".deb"))
		return from_deb(o, package, cache_fd, ui, ret, e);
	return from_apt(o, package, cache_fd, ui, ret, e);
}

int kernel_find(const struct kernel_opts *o, struct ui *ui, struct kernel *ret, struct err *e)
{
	int r;

	if (o->vmlinuz)
		return take_given(o, ret, e);
	if (o->package || str_eq(o->name, KERNEL_STOCK))
		return find_stock(o, ui, ret, e);
	if (o->name) {
		r = kbuild_find(o->cache, o->name, ret, e);
		return r == -EINVAL ? err_wrap(e, "--kernel is " KERNEL_STOCK " or a profile") : r;
	}
	return kbuild_find(o->cache, KBUILD_DEFAULT, ret, NULL) == 0 ? 0 : find_stock(o, ui, ret, e);
}
