/* spec_mount.c - one element of `mounts` (see spec.h): its options become flags and data.
 * Called by field.c's engine on behalf of spec.c. Never looks at the file system. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "oci/field.h"

/* Later options win over earlier ones, as with mount(8). */
static void apply_option(struct spec_mount *m, const struct mount_option *o)
{
	switch (o->kind) {
	case OPTION_SET:
		m->flags_set |= o->mask;
		m->flags_clear &= ~o->mask;
		break;
	case OPTION_CLEAR:
		m->flags_clear |= o->mask;
		m->flags_set &= ~o->mask;
		break;
	case OPTION_PROPAGATION:
		m->propagation = o->mask;
		break;
	case OPTION_REC: /* the kernel clears first, then sets */
		m->rec_set = (m->rec_set & ~o->attr_clear) | o->attr_set;
		m->rec_clear |= o->attr_clear;
		break;
	case OPTION_RBIND:
		m->recursive = true;
		m->bind = true;
		break;
	case OPTION_BIND:
		m->bind = true;
		break;
	case OPTION_RIDMAP:
		m->ridmap = true;
		break;
	case OPTION_IDMAP:
		m->idmap = true;
		break;
	case OPTION_TMPCOPYUP:
		m->tmpcopyup = true;
		break;
	case OPTION_NONE:
	case OPTION_KIND_N:
		break;
	}
}

static bool take_id(const char **s, uint32_t *ret)
{
	unsigned long long v;
	char *end;

	if (**s < '0' || **s > '9')
		return false;
	v = strtoull(*s, &end, 10);
	if (v > UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	*s = end;
	return true;
}

static bool take_char(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

static bool take_mapping(const char **s, struct spec_idmap *ret)
{
	return take_id(s, &ret->container_id) && take_char(s, '-') && take_id(s, &ret->host_id) &&
	       take_char(s, '-') && take_id(s, &ret->size) && ret->size > 0 &&
	       ret->container_id <= UINT32_MAX - ret->size && ret->host_id <= UINT32_MAX - ret->size;
}

/* "0-100000-10#10-200000-5" up to a ';' or the end. False: that is not there, or there is no memory. */
static bool take_mappings(const struct field_ctx *c, const char **s, struct spec_idmap **ret, size_t *ret_n)
{
	size_t n = 1;

	for (const char *p = *s; *p && *p != ';'; p++)
		n += *p == '#';
	*ret = arena_array(c->mem, n, sizeof **ret);
	for (*ret_n = 0; *ret && *ret_n < n; (*ret_n)++)
		if ((*ret_n > 0 && !take_char(s, '#')) || !take_mapping(s, &(*ret)[*ret_n]))
			return false;
	return *ret && (**s == 0 || **s == ';');
}

/* crun's way to say the mappings, which Podman passes on: "idmap=uids=0-100000-10;gids=0-100000-10". */
static int read_idmap_option(const struct field_ctx *c, const struct json *v, struct spec_mount *m,
			     const char *option)
{
	const char *s = strchr(option, '=') + 1;
	bool ok;

	if (m->has_uid_mappings || m->has_gid_mappings)
		return json_err_member(c->e, v, "options", "\"%.60s\": the mappings are given already",
				       option);
	do {
		bool uids = str_starts(s, "uids=");

		ok = (uids || str_starts(s, "gids=")) && !(uids ? m->has_uid_mappings : m->has_gid_mappings);
		s += ok ? strlen("uids=") : 0;
		if (ok && uids)
			ok = m->has_uid_mappings =
				take_mappings(c, &s, &m->uid_mappings.p, &m->uid_mappings.n);
		else if (ok)
			ok = m->has_gid_mappings =
				take_mappings(c, &s, &m->gid_mappings.p, &m->gid_mappings.n);
	} while (ok && take_char(&s, ';') && *s);
	if (!ok || *s)
		return json_err_member(c->e, v, "options",
				       "\"%.60s\" is not as idmap=uids=0-100000-65536;gids=0-100000-65536 "
				       "(several: joined by #)",
				       option);
	*(str_starts(option, "ridmap") ? &m->ridmap : &m->idmap) = true;
	return 0;
}

static int resolve_options(const struct field_ctx *c, const struct json *v, struct spec_mount *m)
{
	scoped_str data = { 0 };
	int r = 0;

	for (size_t i = 0; i < m->options.n; i++) {
		const char *name = m->options.p[i];
		const struct mount_option *o = mount_option_find(name);

		if (o) {
			apply_option(m, o);
			continue;
		}
		if (str_starts(name, "idmap=") || str_starts(name, "ridmap=")) {
			r = read_idmap_option(c, v, m, name);
			if (r < 0)
				return r;
			continue;
		}
		if (*name == '\0')
			continue;
		if (data.len)
			str_addc(&data, ',');
		str_add(&data, name);
	}
	if (str_check(&data) < 0)
		return field_no_memory(c);
	if (data.len == 0)
		return 0;
	m->data = arena_str(c->mem, data.p);
	return m->data ? 0 : field_no_memory(c);
}

/* A relative destination is deprecated, but means "below /". Cleaning is lexical: ".." can't leave
 * the container, and symlinks in it are the guest's business. */
static int read_destination(const struct field_ctx *c, const struct json *v, void *obj)
{
	scoped_free char *rooted = NULL, *clean = NULL;
	char **ret = obj;
	const char *s;
	int r = json_string(v, &s, c->e);

	if (r < 0)
		return r;
	if (*s == '\0')
		return json_err(c->e, v, "must not be empty");
	rooted = str_fmt("/%s", s);
	clean = rooted ? str_clean_path(rooted) : NULL;
	if (!clean)
		return field_no_memory(c);
	if (strcmp(clean, "/") == 0)
		return json_err(c->e, v, "must be a path below the container's root, found \"%.200s\"", s);
	*ret = arena_str(c->mem, clean);
	return *ret ? 0 : field_no_memory(c);
}

static int finish_mount(const struct field_ctx *c, const struct json *v, void *obj)
{
	struct spec_mount *m = obj;

	m->bind = m->type && strcmp(m->type, "bind") == 0;
	return resolve_options(c, v, m);
}

static const struct field mount_rows[] = {
	ROW("destination", FIELD_FN, struct spec_mount, destination, .flags = FIELD_REQUIRED,
	    .fn = read_destination),
	ROW("type", FIELD_STR, struct spec_mount, type, .flags = FIELD_EMPTY_UNSET),
	ROW("source", FIELD_STR, struct spec_mount, source, .flags = FIELD_EMPTY_UNSET),
	ROW("options", FIELD_STRS, struct spec_mount, options),
	ROW_HAS("uidMappings", FIELD_OBJS, struct spec_mount, uid_mappings, has_uid_mappings,
		.sub = &spec_idmap_table),
	ROW_HAS("gidMappings", FIELD_OBJS, struct spec_mount, gid_mappings, has_gid_mappings,
		.sub = &spec_idmap_table),
};
const struct field_obj spec_mount_table = FIELD_OBJ_OF(struct spec_mount, mount_rows, finish_mount);
