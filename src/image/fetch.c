/* fetch.c - see fetch.h. Called by kernel.c and kbuild.c. Trusts apt, which checks what it downloads against
 * its signed lists, and the cache, which is the user's own. Never: installs a package. */
#include "image/fetch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image/apt.h"

#define APT_LISTS "/var/lib/apt/lists"
#define NOTE_MAX  4096

/* One builder at a time in the cache; what an earlier one left half done is removed. */
int fetch_cache_open(const char *cache, int *ret_fd, struct err *e)
{
	scoped_fd fd = -1;
	scoped_dir d = NULL;
	struct dirent *de;
	int r;

	r = io_mkdirs(cache, 0755);
	if (r < 0)
		return err_set(e, r, "cache directory %s: %m", cache);
	fd = open(cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return err_set(e, -errno, "cache directory %s: %m", cache);
	d = opendir(cache);
	while (d && (de = readdir(d))) {
		if (!str_starts(de->d_name, "tmp."))
			continue;
		r = io_remove_tree_at(fd, de->d_name);
		if (r < 0)
			return err_set(e, r, "cache directory %s: remove %s: %m", cache, de->d_name);
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

/* The newest .deb of the cache that may stand in, for a machine without network or lists. */
static char *newest_cached(const char *cache, bool (*stand_in)(const char *file))
{
	scoped_dir d = opendir(cache);
	scoped_free char *best = NULL;
	struct dirent *de;

	while (d && (de = readdir(d))) {
		if (!str_ends(de->d_name, ".deb") || !stand_in(de->d_name))
			continue;
		if (best && strverscmp(de->d_name, best) <= 0)
			continue;
		free(best);
		best = strdup(de->d_name);
	}
	return take_ptr(&best);
}

static int download(const struct apt_package *p, const char *cache, const char *deb, struct ui *ui,
		    struct err *e)
{
	scoped_free char *tmp = str_fmt("%s/tmp.get", cache);
	scoped_free char *got = str_fmt("%s/tmp.get/%s", cache, p->file);
	int r;

	if (!tmp || !got)
		return err_set(e, -ENOMEM, "%m");
	ui_step(ui, "fetch", "%s %s (%.1f MB)", p->name, p->version, (double)p->size / 1e6);
	r = io_mkdirs(tmp, 0755);
	r = r < 0 ? err_set(e, r, "%s: %m", tmp) : apt_download(p, tmp, e);
	if (r == 0 && rename(got, deb) < 0)
		r = err_set(e, -errno, "rename %s to %s: %m", got, deb);
	if (r < 0)
		return r;
	ui_done(ui);
	return rmdir(tmp) < 0 ? err_set(e, -errno, "%s: %m", tmp) : 0;
}

/* When apt's lists last changed: what a name stands for changes only with them. */
static char *lists_stamp(void)
{
	struct stat st;

	if (stat(APT_LISTS, &st) < 0)
		return NULL;
	return str_fmt("%lld.%09ld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

/* The download that `name` stood for with the lists of today; NULL if apt must be asked (a second). */
static char *remembered(int cache_fd, const char *note, const char *stamp)
{
	scoped_free char *text = NULL;
	scoped_strv part = { 0 };
	size_t len;

	if (!stamp || io_read_file_at(cache_fd, note, NOTE_MAX, &text, &len) < 0)
		return NULL;
	strv_split(&part, text, ' ');
	if (strv_check(&part) < 0 || part.n != 2 || !str_eq(part.p[0], stamp) || strchr(part.p[1], '/') ||
	    faccessat(cache_fd, part.p[1], R_OK, 0) < 0)
		return NULL;
	return strdup(part.p[1]);
}

static int remember(int cache_fd, const char *note, const char *stamp, const char *file, struct err *e)
{
	scoped_free char *text = stamp ? str_fmt("%s %s", stamp, file) : NULL;
	int r;

	if (!text)
		return 0; /* then apt is asked next time */
	r = io_replace_file_at(cache_fd, note, text, strlen(text), 0644);
	return r < 0 ? err_set(e, r, "cache directory: %s: %m", note) : 0;
}

/* Asks apt and downloads. The file's name in the cache. */
static int ask_apt(const char *name, const char *cache, struct ui *ui, char **ret, struct err *e)
{
	scoped_package p = { 0 };
	scoped_free char *deb = NULL;
	struct stat st;
	int r;

	r = apt_find(name, &p, e);
	if (r < 0)
		return r;
	deb = str_fmt("%s/%s", cache, p.file);
	if (!deb)
		return err_set(e, -ENOMEM, "%m");
	if (stat(deb, &st) < 0 || (uint64_t)st.st_size != p.size) {
		r = download(&p, cache, deb, ui, e);
		if (r < 0)
			return r;
	}
	*ret = take_ptr(&p.file);
	return 0;
}

int fetch_package(const char *name, bool (*stand_in)(const char *file), const char *cache, int cache_fd,
		  struct ui *ui, char **ret, struct err *e)
{
	scoped_free char *note = str_fmt("newest.%s", name), *stamp = lists_stamp();
	scoped_free char *file = note ? remembered(cache_fd, note, stamp) : NULL;
	int r;

	if (!note)
		return err_set(e, -ENOMEM, "%m");
	if (!file) {
		r = ask_apt(name, cache, ui, &file, e);
		if (r == 0)
			r = remember(cache_fd, note, stamp, file, e);
		if (r < 0 && stand_in)
			file = newest_cached(cache, stand_in);
		if (r < 0 && !file)
			return r;
		if (r < 0)
			ui_note(ui, "%s; using %s, downloaded earlier", e ? e->msg : "apt failed", file);
	}
	*ret = take_ptr(&file);
	return 0;
}
