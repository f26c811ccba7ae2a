/* Which roots can be taken apart: lines of mountinfo as engines' mounts look there. */
#include <errno.h>
#include <string.h>

#include "unit.h"

#include "image/convert.h"

#define HEAD "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"

static void roots(void **state)
{
	static const struct {
		const char *text, *root;
		int r;
		const char *lower, *upper, *says;
	} rows[] = {
		/* a plain directory: nothing is said about it */
		{ HEAD, "/b/rootfs", 0, NULL, NULL, NULL },
		{ HEAD "30 22 8:1 /x /b/rootfs rw - ext4 /dev/sda1 rw\n", "/b/rootfs", 0, NULL, NULL, NULL },
		{ HEAD "30 22 8:1 /x /b/rootfs2/in rw - ext4 /dev/sda1 rw\n", "/b/rootfs", 0, NULL, NULL,
		  NULL },
		/* containerd, Podman */
		{ HEAD "30 22 0:50 / /b/rootfs rw,relatime shared:5 master:3 - overlay overlay "
		       "rw,lowerdir=/s/2/fs:/s/1/fs,upperdir=/s/3/fs,workdir=/s/3/work,volatile\n",
		  "/b/rootfs", 0, "/s/2/fs|/s/1/fs", "/s/3/fs", NULL },
		{ HEAD "30 22 0:50 / /b/rootfs ro - overlay overlay ro,lowerdir=/a\n", "/b/rootfs", 0, "/a",
		  NULL, NULL },
		{ HEAD "30 22 0:50 / /b/my\\040root rw - overlay o "
		       "rw,lowerdir=/a\\040b:/c,upperdir=/u\\011v,workdir=/w\n",
		  "/b/my root", 0, "/a b|/c", "/u\tv", NULL },
		/* both again, with so many layers that they write relative paths */
		{ HEAD "30 22 0:50 / /b/rootfs rw - overlay o rw,lowerdir=2/fs:1/fs,upperdir=/s/3/fs\n",
		  "/b/rootfs", 0, "/s/2/fs|/s/1/fs", "/s/3/fs", NULL },
		{ HEAD "30 22 0:50 / /h/9/merged rw - overlay o rw,lowerdir=l/AB:l/CD,upperdir=9/diff\n",
		  "/h/9/merged", 0, "/h/l/AB|/h/l/CD", "/h/9/diff", NULL },
		/* the mount on top counts */
		{ HEAD "30 22 0:50 / /r rw - overlay o rw,lowerdir=/a\n31 30 0:51 / /r rw - overlay o "
		       "rw,lowerdir=/b\n",
		  "/r", 0, "/b", NULL, NULL },
		{ HEAD "30 22 0:50 / /r rw - overlay o rw,lowerdir=/a\n31 30 0:51 / /r rw - tmpfs t rw\n",
		  "/r", 0, NULL, NULL, NULL },
		/* what can't be */
		{ HEAD "30 22 0:50 / /r rw - overlay o rw,lowerdir=/a\n31 30 0:51 / /r/proc rw - proc p rw\n",
		  "/r", -ENOTSUP, NULL, NULL, "/r/proc is mounted in it" },
		{ HEAD "30 22 0:50 / /r rw - overlay o rw,lowerdir=l/AB:l/CD,upperdir=x/diff\n", "/r",
		  -ENOTSUP, NULL, NULL, "whose paths are relative" },
		{ HEAD "30 22 0:50 / /h/8/merged rw - overlay o rw,lowerdir=l/AB,upperdir=9/diff\n",
		  "/h/8/merged", -ENOTSUP, NULL, NULL, "whose paths are relative" },
		{ HEAD "30 22 0:50 / /h/9/merged rw - overlay o rw,lowerdir=l/AB,upperdir=9/a/diff\n",
		  "/h/9/merged", -ENOTSUP, NULL, NULL, "whose paths are relative" },
		{ HEAD "30 22 0:50 / /b/r rw - overlay o rw,lowerdir=../fs,upperdir=/s/3/fs\n", "/b/r",
		  -ENOTSUP, NULL, NULL, "whose paths are relative" },
		{ HEAD "30 22 0:50 / /b/r rw - overlay o rw,lowerdir=2/..,upperdir=/s/3/fs\n", "/b/r",
		  -ENOTSUP, NULL, NULL, "whose paths are relative" },
		{ HEAD "30 22 0:50 / /b/r rw - overlay o rw,lowerdir=2/fs/x,upperdir=/s/3/fs\n", "/b/r",
		  -ENOTSUP, NULL, NULL, "whose paths are relative" },
		{ HEAD "30 22 0:50 / /b/r rw - overlay o rw,lowerdir=2/fs,upperdir=/fs\n", "/b/r", -ENOTSUP,
		  NULL, NULL, "whose paths are relative" },
		{ HEAD "30 22 0:50 / /b/r ro - overlay o ro,lowerdir=2/fs:1/fs\n", "/b/r", -ENOTSUP, NULL,
		  NULL, "whose paths are relative" },
		{ HEAD "30 22 0:50 / /r rw - overlay o rw,lowerdir=/a::/data\n", "/r", -ENOTSUP, NULL, NULL,
		  "data-only" },
		{ HEAD "30 22 0:50 / /r rw - overlay o rw,lowerdir=/a\\134:b\n", "/r", -ENOTSUP, NULL, NULL,
		  "a colon" },
		{ HEAD "30 22 0:50 / /r rw - overlay o rw,lowerdir=/a,metacopy=on\n", "/r", -ENOTSUP, NULL,
		  NULL, "mounted with metacopy=on" },
		{ HEAD "30 22 0:50 / /r rw - overlay o rw,lowerdir=/a,userxattr\n", "/r", -ENOTSUP, NULL,
		  NULL, "mounted with userxattr" },
		{ HEAD "30 22 0:50 / /r rw - overlay o rw,lowerdir+=/a,lowerdir+=/b\n", "/r", -ENOTSUP, NULL,
		  NULL, "mounted with lowerdir+=/a" },
		{ HEAD "30 22 0:50 / /r rw - overlay o rw\n", "/r", -ENOTSUP, NULL, NULL,
		  "does not say what it is made of" },
		/* no lines of a kernel */
		{ "", "/r", 0, NULL, NULL, NULL },
		{ "\n\n - \nx y z /r\n30 22 0:50 / /r rw overlay\n - - - - - - - -\n", "/r", 0, NULL, NULL,
		  NULL },
		{ "30 22 0:50 / /r rw - overlay", "/r", 0, NULL, NULL, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		scoped_convert_mount m = { .overlay = true };
		scoped_str lower = { 0 };
		struct err e = { 0 };
		int r = convert_parse_mounts(rows[i].text, rows[i].root, &m, &e);

		if (r != rows[i].r)
			fail_msg("row %zu: %d %s", i, r, e.msg);
		if (rows[i].says && !strstr(e.msg, rows[i].says))
			fail_msg("row %zu: \"%s\"", i, e.msg);
		if (r < 0)
			continue;
		for (size_t k = 0; k < m.lower.n; k++)
			str_addf(&lower, "%s%s", k ? "|" : "", m.lower.p[k]);
		if (m.overlay != (rows[i].lower != NULL) || !str_eq(lower.p, rows[i].lower) ||
		    !str_eq(m.upper, rows[i].upper))
			fail_msg("row %zu: %s, %s", i, lower.p ? lower.p : "-", m.upper ? m.upper : "-");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(roots) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
