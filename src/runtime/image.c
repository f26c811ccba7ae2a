/* image.c - see image.h. Called by create.c.
 *
 * What an image's configuration becomes follows the OCI image-spec (conversion.md) and, where that is silent,
 * what Podman does; docs/images.md has the table.
 * Trusts the store's directory and the command line. Distrusts the image's configuration: it names programs,
 * users and directories of its own, never the host's, and sets none of our annotations. */
#include "runtime/image.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/io.h"
#include "base/num.h"
#include "image/convert.h"
#include "oci/template.h"
#include "wire/msg.h"

#define PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define HOSTNAME_MAX 63
_Static_assert(STORE_DEVICES + 1 <= LAYERS_MAX, "an image's files and the mini-OS have a device each");
#define VOLUME_PLAIN "rbind,rw"
#define VOLUME_RO    "rbind,ro"
/* A volume of the image: in the VM's memory, with what the image has there. */
#define VOLUME_OWN "nosuid,nodev,tmpcopyup"

/* Podman's set. A user other than root has none: see process.user.username in docs/oci-fields.md. */
static const char *const caps[] = { "CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",     "CAP_FSETID",
				    "CAP_KILL",    "CAP_NET_BIND_SERVICE", "CAP_SETFCAP",    "CAP_SETGID",
				    "CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT", NULL };

static int no_memory(struct err *e)
{
	return err_set(e, -ENOMEM, "out of memory");
}

/* The texts that the document is made of; freed after it was written. */
struct words {
	struct strv args, env, annotations;
	struct arena mem;
	struct template_mount *mounts;
	size_t n_mounts;
};

static void words_fini(struct words *w)
{
	strv_fini(&w->args);
	strv_fini(&w->env);
	strv_fini(&w->annotations);
	arena_fini(&w->mem);
}

/* --entrypoint stands in for both of the image's; a command replaces the image's Cmd. */
static int find_args(const struct image_config *i, const struct cli *cli, struct words *w, struct err *e)
{
	const char *entrypoint = cli->image.entrypoint;

	if (entrypoint)
		strv_add(&w->args, entrypoint);
	for (size_t k = 0; k < i->entrypoint.n && !entrypoint; k++)
		strv_add(&w->args, i->entrypoint.p[k]);
	for (size_t k = 0; k < cli->args.n; k++)
		strv_add(&w->args, cli->args.p[k]);
	for (size_t k = 0; k < i->cmd.n && !entrypoint && cli->args.n == 0; k++)
		strv_add(&w->args, i->cmd.p[k]);
	if (strv_check(&w->args) < 0)
		return no_memory(e);
	return w->args.n
		       ? 0
		       : err_set(e, -EINVAL,
				 "image %s names no command: give one, as in: cor run --image %s -- COMMAND",
				 cli->image.name, cli->image.name);
}

static int find_env(const struct image_config *i, const struct cli *cli, const char *hostname,
		    struct words *w, struct err *e)
{
	strv_add(&w->env, "PATH=" PATH_DEFAULT);
	if (cli->image.tty)
		strv_add(&w->env, "TERM=xterm");
	strv_addf(&w->env, "HOSTNAME=%s", hostname);
	for (size_t k = 0; k < i->env.n + cli->image.env.n; k++) {
		bool own = k >= i->env.n;
		const char *text = own ? cli->image.env.p[k - i->env.n] : i->env.p[k],
			   *eq = strchr(text, '=');
		char *key;

		if (!eq || eq == text) {
			if (own)
				return err_set(e, -EINVAL, "--env %s: must be KEY=VALUE", text);
			continue; /* Docker lets an image say so, and nothing sees it */
		}
		key = arena_strn(&w->mem, text, (size_t)(eq - text));
		if (!key)
			return no_memory(e);
		strv_env_set(&w->env, key, eq + 1);
	}
	return strv_check(&w->env) < 0 ? no_memory(e) : 0;
}

static void add_annotation(struct words *w, const char *key, const char *value)
{
	for (size_t k = 0; k + 1 < w->annotations.n; k += 2)
		if (str_eq(w->annotations.p[k], key))
			return;
	strv_add(&w->annotations, key);
	strv_add(&w->annotations, value);
}

/* What the image-spec reserves stands before a label of the same name. */
static int find_annotations(const struct image_config *i, struct words *w, struct err *e)
{
	scoped_str ports = { 0 };
	const struct {
		const char *key, *value;
	} all[] = {
		{ "org.opencontainers.image.os", i->os },
		{ "org.opencontainers.image.architecture", i->architecture },
		{ "org.opencontainers.image.variant", i->variant },
		{ "org.opencontainers.image.author", i->author },
		{ "org.opencontainers.image.created", i->created },
		{ "org.opencontainers.image.stopSignal", i->stop_signal },
		{ "org.opencontainers.image.exposedPorts", NULL },
	};

	for (size_t k = 0; k < i->ports.n; k++)
		str_addf(&ports, "%s%s", k ? "," : "", i->ports.p[k]);
	if (str_check(&ports) < 0)
		return no_memory(e);
	for (size_t k = 0; k < ARRAY_LEN(all); k++) {
		const char *value = all[k].value ? all[k].value : k + 1 == ARRAY_LEN(all) ? ports.p : NULL;

		if (value)
			add_annotation(w, all[k].key, value);
	}
	/* Ours are for whoever runs a container, not for who makes an image. */
	for (size_t k = 0; k < i->labels.n; k++)
		if (!str_starts(i->labels.p[k].key, SETTINGS_PREFIX))
			add_annotation(w, i->labels.p[k].key, i->labels.p[k].value);
	return strv_check(&w->annotations) < 0 ? no_memory(e) : 0;
}

/* SOURCE:DIR[:ro] */
static int add_volume(const char *text, struct words *w, struct err *e)
{
	scoped_strv parts = { 0 };
	char *real;
	bool ro;

	strv_split(&parts, text, ':');
	if (strv_check(&parts) < 0)
		return no_memory(e);
	ro = parts.n == 3 && str_eq(parts.p[2], "ro");
	if (parts.n < 2 || parts.n > 3 || (parts.n == 3 && !ro && !str_eq(parts.p[2], "rw")) ||
	    !*parts.p[0] || parts.p[1][0] != '/')
		return err_set(e, -EINVAL,
			       "--volume %s: must be SOURCE:DIR or SOURCE:DIR:ro, and DIR an absolute path",
			       text);
	real = realpath(parts.p[0], NULL);
	if (!real)
		return err_set(e, -errno, "--volume %s: %s: %m", text, parts.p[0]);
	w->mounts[w->n_mounts++] = (struct template_mount){ .destination = arena_str(&w->mem, parts.p[1]),
							    .type = "bind",
							    .source = arena_str(&w->mem, real),
							    .options = ro ? VOLUME_RO : VOLUME_PLAIN };
	free(real);
	return w->mounts[w->n_mounts - 1].destination && w->mounts[w->n_mounts - 1].source ? 0 : no_memory(e);
}

static bool is_mounted(const struct words *w, const char *dir)
{
	for (size_t k = 0; k < w->n_mounts; k++)
		if (str_eq(w->mounts[k].destination, dir))
			return true;
	return false;
}

/* The image's volumes first: one of the command line may lie in one of them. */
static int find_mounts(const struct image_config *i, const struct cli *cli, struct words *w, struct err *e)
{
	const struct opt_strs *own = &cli->image.volume;
	struct words given = { .mounts = NULL };
	int r = 0;

	given.mounts = arena_array(&w->mem, own->n + 1, sizeof *given.mounts);
	w->mounts = arena_array(&w->mem, own->n + i->volumes.n + 1, sizeof *w->mounts);
	if (!given.mounts || !w->mounts)
		return no_memory(e);
	for (size_t k = 0; k < own->n && r == 0; k++)
		r = add_volume(own->p[k], &given, e);
	for (size_t k = 0; k < i->volumes.n && r == 0; k++) {
		scoped_free char *full = str_fmt("/%s", i->volumes.p[k]);
		scoped_free char *clean = full ? str_clean_path(full) : NULL;
		char *dir = clean ? arena_str(&w->mem, clean) : NULL;

		if (!dir)
			r = no_memory(e);
		else if (!str_eq(dir, "/") && !is_mounted(&given, dir) && !is_mounted(w, dir))
			w->mounts[w->n_mounts++] =
				(struct template_mount){ dir, "tmpfs", "tmpfs", VOLUME_OWN };
	}
	for (size_t k = 0; k < given.n_mounts && r == 0; k++) {
		struct template_mount *m = &w->mounts[w->n_mounts++];

		*m = given.mounts[k];
		m->destination = arena_str(&w->mem, m->destination);
		m->source = arena_str(&w->mem, m->source);
		if (!m->destination || !m->source)
			r = no_memory(e);
	}
	words_fini(&given);
	return r;
}

/* "1.5" to microseconds of a period. */
static int find_quota(const char *cpus, uint64_t *ret, struct err *e)
{
	uint64_t whole, part = 0, unit = TEMPLATE_PERIOD;
	scoped_strv parts = { 0 };

	*ret = 0;
	if (!cpus)
		return 0;
	strv_split(&parts, cpus, '.');
	if (strv_check(&parts) < 0)
		return no_memory(e);
	if (parts.n <= 2 && num_parse_u64_max(parts.p[0], 4096, &whole) == 0 &&
	    (parts.n == 1 || (strlen(parts.p[1]) <= 4 && num_parse_u64(parts.p[1], &part) == 0))) {
		for (size_t k = 0; parts.n == 2 && parts.p[1][k]; k++)
			unit /= 10;
		*ret = whole * TEMPLATE_PERIOD + part * unit;
	}
	/* less than a millisecond is refused by the kernel */
	return *ret >= 1000 ? 0
			    : err_set(e, -EINVAL,
				      "--cpus %s: must be a number from 0.01 to 4096, such as 1.5", cpus);
}

/* --workdir, else the image's; "/" in front of what isn't absolute, as Docker has it. */
static int find_cwd(const struct image_config *i, const struct cli *cli, struct words *w, const char **ret,
		    struct err *e)
{
	const char *given = cli->image.workdir, *dir = given ? given : i->workdir;

	if (given && given[0] != '/')
		return err_set(e, -EINVAL, "--workdir %s: must be an absolute path", given);
	*ret = !dir ? "/" : dir[0] == '/' ? dir : arena_fmt(&w->mem, "/%s", dir);
	return *ret ? 0 : no_memory(e);
}

static int make_document(const struct image_config *i, const struct cli *cli, struct words *w, struct str *to,
			 struct err *e)
{
	const char *user = cli->image.user ? cli->image.user : i->user;
	struct template t = {
		.terminal = cli->image.tty,
		.user = user ? user : "0", /* so that root's groups are those of the image */
		.caps = caps,
		.no_ambient = true,
		.nofile_soft = 1024,
		.nofile_hard = 1048576,
		.root = "image", /* a name in the state directory: nothing is there */
		.root_readonly = cli->image.read_only,
		.hostname = strlen(cli->id) <= HOSTNAME_MAX ? cli->id : "cor",
		.memory = cli->image.memory,
	};
	int r;

	r = find_args(i, cli, w, e);
	if (r == 0)
		r = find_env(i, cli, t.hostname, w, e);
	if (r == 0)
		r = find_annotations(i, w, e);
	if (r == 0)
		r = find_mounts(i, cli, w, e);
	if (r == 0)
		r = find_quota(cli->image.cpus, &t.cpu_quota, e);
	if (r == 0)
		r = find_cwd(i, cli, w, &t.cwd, e);
	if (r < 0)
		return r;
	t.args = (const char *const *)w->args.p;
	t.env = (const char *const *)w->env.p;
	t.annotations = &w->annotations;
	t.mounts = w->mounts;
	t.n_mounts = w->n_mounts;
	template_write(&t, to);
	return str_check(to) < 0 ? no_memory(e) : 0;
}

int image_spec(const struct image_config *image, const struct cli *cli, struct str *to, struct err *e)
{
	struct words w = { .mounts = NULL };
	int r = make_document(image, cli, &w, to, e);

	words_fini(&w);
	return r;
}

/* What the layer must measure, by image.verity; who opens it for the VM compares. */
static int note_verity(const struct store *s, const char *layer, int verity, struct strv *to, struct err *e)
{
	struct store_sum sum;
	int r;

	if (verity == SETTINGS_VERITY_OFF)
		return 0;
	r = store_read_sum(s, layer, &sum, e);
	if (r < 0)
		return r;
	if (!*sum.verity && verity == SETTINGS_VERITY_REQUIRE)
		return err_set(
			e, -EPERM,
			"image.verity = require, and layer %.12s has no fs-verity digest: import the image "
			"again with 'cor-image import --verity require'",
			layer);
	strv_add(to, sum.verity);
	return 0;
}

/* Every layer is there and looks like one. */
static int check_layers(const struct store *s, const struct store_image *i, int verity,
			struct image_root *ret, struct err *e)
{
	scoped_free char *root = realpath(s->path, NULL);

	if (!root)
		return err_set(e, -errno, "image store %s: %m", s->path);
	for (size_t k = 0; k < i->files.n; k++) {
		scoped_fd fd = -1;
		uint64_t size;
		int r = store_open_layer(s, i->files.p[k], &fd, &size, e);

		if (r < 0)
			return r;
		r = note_verity(s, i->files.p[k], verity, &ret->verity, e);
		if (r < 0)
			return r;
		strv_addf(&ret->layers, "%s/layers/%s.erofs", root, i->files.p[k]);
	}
	return strv_check(&ret->layers) < 0 || strv_check(&ret->verity) < 0 ? no_memory(e) : 0;
}

/* 12 hex digits, as engines show IDs. */
static int make_id(struct cli *cli, struct err *e)
{
	uint8_t b[6];

	if (cli->id)
		return 0;
	if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
		return err_set(e, -errno, "getrandom: %m");
	cli->id = arena_fmt(&cli->mem, "%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
	return cli->id ? 0 : no_memory(e);
}

static int parse_document(const struct str *text, struct spec *ret, struct err *e)
{
	int r = spec_parse(text->p, text->len, ret, e);

	if (r < 0)
		return r;
	ret->text = arena_strn(&ret->mem, text->p, text->len);
	ret->text_len = text->len;
	if (ret->text)
		return 0;
	spec_fini(ret);
	return no_memory(e);
}

int image_load(struct cli *cli, struct spec *spec, struct image_root *ret, struct err *e)
{
	scoped_store store = { .fd = -1 };
	scoped_store_image stored = { 0 };
	scoped_image_config config = { 0 };
	scoped_free char *doc = NULL;
	scoped_str text = { 0 };
	char id[SHA256_HEX];
	int r;

	if (cli->image.disk)
		cli->settings.image_disk = cli->image.disk;
	r = store_open(&store, cli->settings.image_store, false, e);
	if (r < 0)
		return r;
	ret->lock = store_lock(&store, false, e);
	if (ret->lock < 0)
		return ret->lock;
	r = store_find(&store, cli->image.name, id, e);
	if (r == 0)
		r = store_read(&store, id, &stored, e);
	if (r < 0)
		return r;
	r = check_layers(&store, &stored, cli->settings.image_verity, ret, e);
	if (r < 0)
		return err_wrap(e, "image %s", cli->image.name);
	doc = str_fmt("image %s", cli->image.name);
	r = doc ? make_id(cli, e) : no_memory(e);
	if (r == 0)
		r = image_config_parse(stored.config, stored.config_len, doc, &config, e);
	if (r == 0)
		r = image_spec(&config, cli, &text, e);
	return r == 0 ? parse_document(&text, spec, e) : r;
}

/* A hook of these kinds finds the root on the host and may write there (engines' device plug-ins do), where
 * the container would not see it. */
static const char *hook_in_the_way(const struct spec *s)
{
	static const struct {
		enum spec_hook_kind kind;
		const char *name;
	} kinds[] = { { HOOK_PRESTART, "prestart" },
		      { HOOK_CREATE_RUNTIME, "createRuntime" },
		      { HOOK_CREATE_CONTAINER, "createContainer" } };

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (s->hooks.lists[kinds[i].kind].n)
			return kinds[i].name;
	return NULL;
}

/* Between the conversion and the lock a gc may have come. */
static bool all_there(const struct strv *files)
{
	for (size_t i = 0; i < files->n; i++)
		if (access(files->p[i], R_OK) < 0)
			return false;
	return true;
}

#define TRIES 3

static int try_convert(const struct settings *s, const char *root, const char *state_dir,
		       struct image_root *ret, struct err *e)
{
	scoped_store store = { .fd = -1 };
	int r = store_open(&store, s->image_store, true, e);

	for (int i = 0; i < TRIES && r == 0; i++) {
		image_root_fini(ret);
		r = convert_root(&store, root, state_dir, &ret->layers, e);
		if (r == 0)
			ret->lock = store_lock(&store, false, e);
		if (r == 0 && ret->lock < 0)
			r = ret->lock;
		if (r == 0 && all_there(&ret->layers))
			return 0;
	}
	return r < 0 ? r : err_set(e, -EAGAIN, "%s is emptied all the time", s->image_store);
}

int image_convert(const struct settings *s, const struct spec *spec, const char *root, const char *state_dir,
		  struct image_root *ret, struct strv *warnings, struct err *e)
{
	const char *hook = hook_in_the_way(spec);
	struct err why = { 0 };
	int r;

	if (!s->image_convert)
		return 0;
	r = hook ? err_set(&why, -ENOTSUP, "a %s hook may write to it", hook)
		 : try_convert(s, root, state_dir, ret, &why);
	if (r == 0)
		return 0;
	image_root_fini(ret);
	strv_addf(warnings, "image.convert: root.path %s is shared as a directory: %s", root, why.msg);
	return strv_check(warnings) < 0 ? no_memory(e) : 0;
}

void image_settled(struct image_root *r)
{
	scope_close(&r->lock);
	r->lock = -1;
}

void image_root_fini(struct image_root *r)
{
	image_settled(r);
	strv_fini(&r->layers);
	strv_fini(&r->verity);
}
