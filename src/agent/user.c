/* user.c - see user.h. Reads two texts and nothing else.
 * Distrusts: both. A line that can't be read counts for nothing. */
#include "agent/user.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "base/str.h"

#define FIELDS                                                                                               \
	7 /* name, password, uid, gid, comment, home, shell; of a group: name, password, gid, members */
#define ID_MAX (UINT32_MAX - 1)

/* A line's fields: not terminated, empty where the line is too short. */
struct entry {
	struct {
		const char *p;
		size_t n;
	} f[FIELDS];
};

/* The next line of a text; false at its end. */
static bool next_entry(const char **text, struct entry *ret)
{
	const char *p = *text, *end;

	if (!*p)
		return false;
	end = p + strcspn(p, "\n");
	for (size_t i = 0; i < FIELDS; i++) {
		ret->f[i].p = p;
		while (p < end && *p != ':')
			p++;
		ret->f[i].n = (size_t)(p - ret->f[i].p);
		if (p < end)
			p++;
	}
	*text = *end ? end + 1 : end;
	return true;
}

static bool field_is(const struct entry *l, size_t i, const char *text, size_t n)
{
	return l->f[i].n == n && memcmp(l->f[i].p, text, n) == 0;
}

static bool parse_id(const char *p, size_t n, uint32_t *ret)
{
	char text[24];
	uint64_t v;

	if (n == 0 || n >= sizeof text)
		return false;
	memcpy(text, p, n);
	text[n] = '\0';
	if (num_parse_u64_max(text, ID_MAX, &v) < 0)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool field_id(const struct entry *l, size_t i, uint32_t *ret)
{
	return parse_id(l->f[i].p, l->f[i].n, ret);
}

char *user_home(const char *passwd, uint32_t uid)
{
	struct entry l;
	uint32_t id;

	while (next_entry(&passwd, &l))
		if (l.f[0].n && field_id(&l, 2, &id) && id == uid && l.f[5].n)
			return str_fmt("%.*s", (int)l.f[5].n, l.f[5].p);
	return str_fmt("/");
}

/* The entry of a name, or else of its number. */
static bool find(const char *text, size_t id_field, const char *what, size_t n, struct entry *ret)
{
	uint32_t want, id;
	bool number = parse_id(what, n, &want), found = false;
	struct entry l;

	while (next_entry(&text, &l)) {
		if (!l.f[0].n || !field_id(&l, id_field, &id))
			continue;
		if (field_is(&l, 0, what, n)) {
			*ret = l;
			return true;
		}
		if (number && id == want && !found) {
			*ret = l;
			found = true;
		}
	}
	return found;
}

/* Does the list "a,b,c" name the user? */
static bool lists(const struct entry *group, const struct entry *user)
{
	const char *p = group->f[3].p, *end = p + group->f[3].n;

	while (p < end) {
		const char *name = p;

		while (p < end && *p != ',')
			p++;
		if (field_is(user, 0, name, (size_t)(p - name)))
			return true;
		if (p < end)
			p++;
	}
	return false;
}

static void add_groups(const char *group, const struct entry *user, struct user *ret)
{
	struct entry l;
	uint32_t gid;

	while (next_entry(&group, &l) && ret->n_gids < USER_GROUPS_MAX)
		if (field_id(&l, 2, &gid) && lists(&l, user))
			ret->gids[ret->n_gids++] = gid;
}

int user_find(const char *who, const char *passwd, const char *group, struct user *ret, struct err *e)
{
	size_t n = strcspn(who, ":");
	const char *of = who[n] ? who + n + 1 : "";
	struct entry l, g;
	bool known = n && find(passwd, 2, who, n, &l);

	*ret = (struct user){ 0 };
	if (known) {
		(void)field_id(&l, 2, &ret->uid); /* find() read it */
		if (!field_id(&l, 3, &ret->gid))
			ret->gid = 0;
	} else if (n && !parse_id(who, n, &ret->uid)) {
		return err_set(e, -ENOENT, "unable to find user %.*s: no matching entries in passwd file",
			       (int)n, who);
	}
	if (!*of) {
		if (known)
			add_groups(group, &l, ret);
		return 0;
	}
	if (find(group, 2, of, strlen(of), &g))
		(void)field_id(&g, 2, &ret->gid);
	else if (!parse_id(of, strlen(of), &ret->gid))
		return err_set(e, -ENOENT, "unable to find group %s: no matching entries in group file", of);
	return 0;
}
