/* bundle.c - see bundle.h. Called by os.c and initrd.c. A bundle is the administrator's, as the agent beside
 * it is: what it puts into the guest runs there with the agent's rights. It is checked for its form, so that
 * a mistake is an error of the build and not a VM that does not start. Never: reads outside the bundle's
 * directory, replaces a part of the mini-OS. */
#include "image/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/num.h"
#include "image/elf.h"
#include "sys/mnt.h"

#define FIRST_LINE "cor-bundle 1"
#define HOOKS_DIR  "lib/cor/hooks"
#define TEXT_MAX   (64u << 10)
#define FILE_MAX   (64u << 20)
#define SIZE_MAX_  (256u << 20) /* of all files of all bundles: the initramfs is memory of every VM */
#define COUNT_MAX  1024
#define MODE_BITS  07777
/* The guest's kernel leaves out what is longer, without a word; mkfs.erofs (--dax) cuts a part of 255. */
#define PART_MAX     254
#define PATH_LEN_MAX 1000

/* What the mini-OS itself has there, or mounts over. */
static const char *const reserved[] = {
	"init", "dev", "proc", "run", "sys", "tmp", "lib/modules", "lib/cor"
};

/* One line of a bundle. */
struct line {
	struct strv words;
	int dir; /* of the bundle */
	struct bundles *to;
	size_t hook;         /* number of the next hook */
	struct sha256 *hash; /* of all that was taken */
	struct err *e;
};

void bundles_fini(struct bundles *b)
{
	for (size_t i = 0; i < b->n_files; i++) {
		free(b->files[i].path);
		free(b->files[i].data);
	}
	free(b->files);
	free(b->wants);
	strv_fini(&b->names);
	strv_fini(&b->steps);
	strv_fini(&b->ids);
	*b = (struct bundles){ 0 };
}

/* PATH must be a plain absolute one, and not in a place of the mini-OS; returns it without its '/'. */
static int check_path(const char *path, const char **ret, struct err *e)
{
	scoped_free char *clean = str_clean_path(path);

	if (!clean)
		return err_set(e, -ENOMEM, "%m");
	if (*path != '/' || !path[1] || !str_eq(clean, path))
		return err_set(e, -EINVAL, "'%s' is not a plain absolute path", path);
	for (const char *s = path; *s; s += strcspn(s, "/")) {
		s++;
		if (strcspn(s, "/") > PART_MAX || strlen(path) > PATH_LEN_MAX)
			return err_set(e, -ENAMETOOLONG, "'%.40s...' is too long (%d bytes, %d of one part)",
				       path, PATH_LEN_MAX, PART_MAX);
	}
	for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
		size_t n = strlen(reserved[i]);

		if (strncmp(path + 1, reserved[i], n) == 0 && (!path[1 + n] || path[1 + n] == '/'))
			return err_set(e, -EINVAL, "'%s' is in /%s, which is the mini-OS's own", path,
				       reserved[i]);
	}
	*ret = path + 1;
	return 0;
}

static int read_source(struct line *l, const char *source, char **ret, size_t *ret_len)
{
	scoped_fd fd = -1;
	struct stat st;
	int r;

	r = mnt_open_in(l->dir, source, O_RDONLY | O_NONBLOCK | O_NOCTTY, &fd);
	if (r == 0 && fstat(fd, &st) < 0)
		r = -errno;
	if (r == 0 && !S_ISREG(st.st_mode))
		return err_set(l->e, -EINVAL, "%s: not a regular file", source);
	if (r == 0)
		r = io_read_all(fd, FILE_MAX, ret, ret_len);
	if (r < 0)
		return err_set(l->e, r, "%s: %m", source);
	l->to->size += *ret_len;
	if (l->to->size > SIZE_MAX_)
		return err_set(l->e, -EFBIG, "%s: the bundles' files are more than %u MiB", source,
			       SIZE_MAX_ >> 20);
	return 0;
}

static int add_file(struct line *l, const char *source, const char *path, mode_t mode, bool program)
{
	struct bundles *b = l->to;
	struct bundle_file f = { .mode = mode };
	int r;

	if (b->n_files == COUNT_MAX)
		return err_set(l->e, -E2BIG, "more than %d files", COUNT_MAX);
	if (b->n_files == b->cap_files) {
		size_t cap = b->cap_files ? b->cap_files * 2 : 16;
		struct bundle_file *p = reallocarray(b->files, cap, sizeof(*p));

		if (!p)
			return err_set(l->e, -ENOMEM, "%m");
		b->files = p;
		b->cap_files = cap;
	}
	for (size_t i = 0; i < b->n_files; i++) {
		if (str_eq(b->files[i].path, path))
			return err_set(l->e, -EEXIST, "/%s is there already", path);
	}
	r = read_source(l, source, &f.data, &f.len);
	if (r == 0 && program) {
		r = elf_take_program(f.data, &f.len, l->e);
		if (r < 0)
			err_wrap(l->e, "%s", source);
	}
	f.path = r < 0 ? NULL : strdup(path);
	if (!f.path) {
		free(f.data);
		return r < 0 ? r : err_set(l->e, -ENOMEM, "%m");
	}
	sha256_add(l->hash, &f.len, sizeof(f.len));
	sha256_add(l->hash, f.data, f.len);
	b->files[b->n_files++] = f;
	return 0;
}

static int do_file(struct line *l)
{
	uint32_t mode = 0644;
	const char *path;
	int r;

	if (l->words.n == 4 && (num_parse_octal(l->words.p[3], &mode) < 0 || mode > MODE_BITS))
		return err_set(l->e, -EINVAL, "'%s' is no mode (0644)", l->words.p[3]);
	r = check_path(l->words.p[2], &path, l->e);
	return r < 0 ? r : add_file(l, l->words.p[1], path, mode, false);
}

static int do_program(struct line *l)
{
	const char *path;
	int r = check_path(l->words.p[2], &path, l->e);

	return r < 0 ? r : add_file(l, l->words.p[1], path, 0755, true);
}

/* Grows the wants by one. The names that they point to don't move. */
static int add_want(struct bundles *b, const char *name, bool boot, bool optional)
{
	size_t table = 0;
	struct module_want *p;

	while (module_table[table].name)
		table++;
	p = reallocarray(b->wants, table + b->n_wants + 2, sizeof(*p));
	if (!p)
		return -ENOMEM;
	b->wants = p;
	memcpy(p, module_table, table * sizeof(*p));
	p[table + b->n_wants++] = (struct module_want){ name, boot, optional, "a bundle" };
	p[table + b->n_wants] = (struct module_want){ 0 };
	return 0;
}

static int do_module(struct line *l)
{
	bool boot = false, optional = false;
	char *name = l->words.p[1];
	int r;

	for (char *s = name; *s; s++)
		*s = *s == '-' ? '_' : *s;
	if (name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")])
		return err_set(l->e, -EINVAL, "'%s' is no name of a module", name);
	for (size_t i = 2; i < l->words.n; i++) {
		if (str_eq(l->words.p[i], "boot"))
			boot = true;
		else if (str_eq(l->words.p[i], "optional"))
			optional = true;
		else
			return err_set(l->e, -EINVAL, "'%s' is not 'boot' or 'optional'", l->words.p[i]);
	}
	strv_add(&l->to->names, name);
	r = strv_check(&l->to->names);
	if (r == 0)
		r = add_want(l->to, l->to->names.p[l->to->names.n - 1], boot, optional);
	return r < 0 ? err_set(l->e, r, "%m") : 0;
}

/* Words from the `from`th on, with single blanks. */
static void join(const struct strv *words, size_t from, struct str *to)
{
	for (size_t i = from; i < words->n; i++) {
		str_add(to, i > from ? " " : "");
		str_add(to, words->p[i]);
	}
}

/* "net.ipv4.ip_forward 1" becomes "sysctl net/ipv4/ip_forward 1". A key with '/' keeps its dots, as sysctl(8)
 * has it. */
static int do_sysctl(struct line *l)
{
	scoped_free char *key = strdup(l->words.p[1]), *clean = NULL;
	scoped_str value = { 0 };

	if (!key)
		return err_set(l->e, -ENOMEM, "%m");
	for (char *s = key; !strchr(l->words.p[1], '/') && *s; s++)
		*s = *s == '.' ? '/' : *s;
	clean = str_clean_path(key);
	if (!clean)
		return err_set(l->e, -ENOMEM, "%m");
	if (!str_eq(clean, key) || *key == '/' || str_starts(key, ".."))
		return err_set(l->e, -EINVAL, "'%s' is no name of a kernel parameter", l->words.p[1]);
	join(&l->words, 2, &value);
	if (str_check(&value) < 0)
		return err_set(l->e, -ENOMEM, "%m");
	strv_addf(&l->to->steps, "sysctl %s %s", key, value.p);
	return 0;
}

/* Where the hook's program is in the guest (without '/'; free()): a program that a bundle put there, or a
 * file of this one, which gets a name of its own. */
static int hook_path(struct line *l, char **ret)
{
	const char *source = l->words.p[1], *base = strrchr(source, '/');
	scoped_free char *path = NULL;
	int r;

	for (size_t i = 0; *source == '/' && i < l->to->n_files; i++) {
		if (!str_eq(l->to->files[i].path, source + 1) || !(l->to->files[i].mode & 0111))
			continue;
		*ret = strdup(source + 1);
		return *ret ? 0 : err_set(l->e, -ENOMEM, "%m");
	}
	if (*source == '/')
		return err_set(l->e, -ENOENT, "no line above puts a program at %s", source);
	path = str_fmt(HOOKS_DIR "/%zu.%zu-%s", l->to->ids.n, ++l->hook, base ? base + 1 : source);
	if (!path)
		return err_set(l->e, -ENOMEM, "%m");
	r = add_file(l, source, path, 0755, true);
	if (r == 0)
		*ret = take_ptr(&path);
	return r;
}

static int do_hook(struct line *l)
{
	scoped_free char *path = NULL;
	scoped_str args = { 0 };
	int r;

	r = hook_path(l, &path);
	if (r < 0)
		return r;
	for (size_t i = 2; i < l->words.n; i++)
		str_addf(&args, " %s", l->words.p[i]);
	if (str_check(&args) < 0)
		return err_set(l->e, -ENOMEM, "%m");
	strv_addf(&l->to->steps, "run /%s%s", path, args.len ? args.p : "");
	return 0;
}

static const struct {
	const char *word;
	size_t min, max; /* words, this one counted */
	int (*fn)(struct line *l);
	const char *usage;
} kinds[] = {
	{ "file", 3, 4, do_file, "file SOURCE PATH [MODE]" },
	{ "program", 3, 3, do_program, "program SOURCE PATH" },
	{ "module", 2, 4, do_module, "module NAME [boot] [optional]" },
	{ "sysctl", 3, 16, do_sysctl, "sysctl KEY VALUE..." },
	{ "hook", 2, 16, do_hook, "hook SOURCE [ARGUMENT...]" },
};

static int do_line(struct line *l)
{
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (!str_eq(kinds[i].word, l->words.p[0]))
			continue;
		if (l->words.n < kinds[i].min || l->words.n > kinds[i].max)
			return err_set(l->e, -EINVAL, "not \"%s\"", kinds[i].usage);
		return kinds[i].fn(l);
	}
	return err_set(l->e, -EINVAL, "'%.40s': no file, program, module, sysctl or hook", l->words.p[0]);
}

/* The words of a line; none if it is empty or a comment. */
static int split(const char *text, struct strv *to)
{
	while (*text != '#' || to->n) {
		size_t n;

		text += strspn(text, " \t");
		if (!*text)
			break;
		n = strcspn(text, " \t");
		strv_addf(to, "%.*s", (int)n, text);
		text += n;
		if (!*text)
			break;
	}
	return strv_check(to);
}

static int do_text(struct bundles *b, int dir, const char *text, struct sha256 *hash, struct err *e)
{
	scoped_strv lines = { 0 };
	struct line l = { .dir = dir, .to = b, .hash = hash, .e = e };
	int r;

	strv_split(&lines, text, '\n');
	if (strv_check(&lines) < 0)
		return err_set(e, -ENOMEM, "%m");
	if (!str_eq(lines.p[0], FIRST_LINE))
		return err_set(e, -EINVAL, "line 1: not '" FIRST_LINE "'");
	for (size_t i = 1; i < lines.n; i++) {
		r = split(lines.p[i], &l.words);
		if (r < 0)
			err_set(e, r, "%m");
		else if (l.words.n)
			r = do_line(&l);
		strv_fini(&l.words);
		if (r < 0)
			return err_wrap(e, "line %zu", i + 1);
	}
	return 0;
}

static int add_bundle(struct bundles *b, const char *name, int dir, struct err *e)
{
	uint8_t digest[SHA256_LEN];
	char hex[SHA256_HEX];
	scoped_free char *text = NULL;
	struct sha256 hash;
	size_t len;
	int r;

	r = io_read_file_at(dir, BUNDLE_FILE, TEXT_MAX, &text, &len);
	if (r < 0)
		return err_set(e, r, BUNDLE_FILE ": %m");
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t')
			return err_set(e, -EINVAL, BUNDLE_FILE ": holds a control character");
	}
	sha256_init(&hash);
	sha256_add(&hash, text, len);
	r = do_text(b, dir, text, &hash, e);
	if (r < 0)
		return err_wrap(e, BUNDLE_FILE);
	sha256_done(&hash, digest);
	sha256_to_hex(digest, hex);
	strv_addf(&b->ids, "%s %s", name, hex);
	r = strv_check(&b->ids);
	if (r == 0)
		r = strv_check(&b->steps);
	return r < 0 ? err_set(e, r, "%m") : 0;
}

int bundles_add(struct bundles *b, const char *dir, struct err *e)
{
	scoped_free char *clean = str_clean_path(dir);
	scoped_fd fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *name = clean ? strrchr(clean, '/') : NULL;
	int r;

	if (!clean)
		return err_set(e, -ENOMEM, "%m");
	if (fd < 0)
		return err_set(e, -errno, "bundle %s: %m", dir);
	name = name ? name + 1 : clean;
	if (!str_is_id(name))
		return err_set(e, -EINVAL,
			       "bundle %s: its name has characters other than letters, digits, '_', '+', "
			       "'-' and '.'",
			       dir);
	r = add_bundle(b, name, fd, e);
	return r < 0 ? err_wrap(e, "bundle %s", dir) : 0;
}

const struct module_want *bundles_wants(const struct bundles *b)
{
	return b->wants ? b->wants : module_table;
}

/* The directories above `path`, once each. */
static int put_parents(struct strv *have, const char *path, struct cpio *c)
{
	for (const char *s = strchr(path, '/'); s; s = strchr(s + 1, '/')) {
		scoped_free char *dir = strndup(path, (size_t)(s - path));

		if (!dir)
			return -ENOMEM;
		if (strv_has(have, dir))
			continue;
		strv_add(have, dir);
		cpio_dir(c, dir, 0755);
	}
	return strv_check(have);
}

int bundles_put(const struct bundles *b, struct str *early, struct cpio *c, struct err *e)
{
	scoped_strv have = { 0 };
	int r = 0;

	for (size_t i = 0; i < c->n; i++)
		strv_add(&have, c->p[i].path);
	for (size_t i = 0; r == 0 && i < b->n_files; i++) {
		const struct bundle_file *f = &b->files[i];

		r = put_parents(&have, f->path, c);
		cpio_file(c, f->path, f->mode, f->data, f->len);
	}
	for (size_t i = 0; i < b->steps.n; i++)
		str_addf(early, "%s\n", b->steps.p[i]);
	if (r == 0 && b->steps.n)
		r = put_parents(&have, BUNDLE_EARLY, c);
	if (r == 0)
		r = str_check(early);
	if (r == 0)
		r = strv_check(&have);
	if (r < 0)
		return err_set(e, r, "initrd: %m");
	if (b->steps.n)
		cpio_file(c, BUNDLE_EARLY, 0644, early->p, early->len);
	return 0;
}
