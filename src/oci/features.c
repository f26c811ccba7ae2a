/* features.c - see features.h. Readers: the containerd shim (rro in mountOptions, idmap), Docker and
 * CRI-O at their start. A name here is a promise. */
#include "oci/features.h"

#include <seccomp.h>

#include "oci/json.h"
#include "oci/names.h"
#include "oci/seccomp.h"
#include "oci/state.h"

static void put_names(struct json_writer *w, const char *key, const struct name_table *t)
{
	json_open(w, key, '[');
	for (size_t i = 0; i < t->n; i++)
		json_put_str(w, NULL, t->rows[i].name);
	json_close(w, ']');
}

static void put_empty(struct json_writer *w, const char *key)
{
	json_open(w, key, '[');
	json_close(w, ']');
}

static void put_hooks(struct json_writer *w, bool idmap)
{
	static const char *const hooks[] = { "prestart",       "createRuntime", "createContainer",
					     "startContainer", "poststart",     "poststop" };

	json_open(w, "hooks", '[');
	for (size_t i = 0; i < ARRAY_LEN(hooks); i++)
		json_put_str(w, NULL, hooks[i]);
	json_close(w, ']');
	json_open(w, "mountOptions", '[');
	for (size_t i = 0; i < mount_options_n; i++)
		if (mount_options[i].honoured && (idmap || (mount_options[i].kind != OPTION_IDMAP &&
							    mount_options[i].kind != OPTION_RIDMAP)))
			json_put_str(w, NULL, mount_options[i].name);
	json_close(w, ']');
}

static void put_switch(struct json_writer *w, const char *key, bool enabled)
{
	json_open(w, key, '{');
	json_put_bool(w, "enabled", enabled);
	json_close(w, '}');
}

static void put_cgroup(struct json_writer *w)
{
	json_open(w, "cgroup", '{');
	json_put_bool(w, "v1", true); /* the VM's processes are placed in either */
	json_put_bool(w, "v2", true);
	json_put_bool(w, "systemd", true);
	json_put_bool(w, "systemdUser", false);
	json_put_bool(w, "rdma", false);
	json_close(w, '}');
}

static void put_linux(struct json_writer *w, bool idmap)
{
	json_open(w, "linux", '{');
	put_names(w, "namespaces", &names_namespaces);
	put_names(w, "capabilities", &names_caps);
	put_cgroup(w);
	json_open(w, "seccomp", '{');
	json_put_bool(w, "enabled", true);
	put_names(w, "actions", &seccomp_actions);
	put_names(w, "operators", &seccomp_operators);
	put_names(w, "archs", &seccomp_archs);
	put_names(w, "knownFlags", &seccomp_flags);
	put_names(w, "supportedFlags", &seccomp_flags);
	json_close(w, '}');
	put_switch(w, "apparmor", false);
	put_switch(w, "selinux", true); /* of the VM's host processes */
	json_open(w, "memoryPolicy", '{');
	put_empty(w, "modes");
	put_empty(w, "flags");
	json_close(w, '}');
	json_open(w, "intelRdt", '{');
	json_put_bool(w, "enabled", false);
	json_put_bool(w, "schemata", false);
	json_put_bool(w, "monitoring", false);
	json_close(w, '}');
	json_open(w, "mountExtensions", '{');
	put_switch(w, "idmap", idmap);
	json_close(w, '}');
	put_switch(w, "netDevices", false);
	json_close(w, '}');
}

void features_write(struct str *to, bool idmap)
{
	const struct scmp_version *v = seccomp_version();
	struct json_writer w = { .to = to, .indent = "\t" };
	char version[48] = "?";

	if (v)
		(void)snprintf(version, sizeof(version), "%u.%u.%u", v->major, v->minor, v->micro);
	json_open(&w, NULL, '{');
	json_put_str(&w, "ociVersionMin", "1.0.0");
	json_put_str(&w, "ociVersionMax", STATE_OCI_VERSION);
	put_hooks(&w, idmap);
	put_linux(&w, idmap);
	json_open(&w, "annotations", '{');
	json_put_str(&w, "io.github.seccomp.libseccomp.version", version);
	json_put_str(&w, OCI_ANNOTATION_PREFIX "version", COR_VERSION);
	json_close(&w, '}');
	json_open(&w, "potentiallyUnsafeConfigAnnotations", '[');
	json_put_str(&w, NULL, OCI_ANNOTATION_PREFIX);
	json_close(&w, ']');
	json_close(&w, '}');
	str_addc(to, '\n');
}
