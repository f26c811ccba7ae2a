/* template.c - see template.h. */
#include "oci/template.h"

#include <string.h>

#include "oci/json.h"

static const char *const spec_args[] = { "sh", NULL };
static const char *const spec_env[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
					"TERM=xterm", NULL };
static const char *const spec_caps[] = { "CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", NULL };

const struct template template_spec = {
	.terminal = true,
	.args = spec_args,
	.env = spec_env,
	.cwd = "/",
	.caps = spec_caps,
	.no_new_privs = true,
	.nofile_soft = 1024,
	.nofile_hard = 1024,
	.root = "rootfs",
	.root_readonly = true,
	.hostname = "cor",
};

static void put_list(struct json_writer *w, const char *key, const char *const *items)
{
	json_open(w, key, '[');
	for (; items && *items; items++)
		json_put_str(w, NULL, *items);
	json_close(w, ']');
}

static void put_process(struct json_writer *w, const struct template *t)
{
	static const char *const sets[] = { "bounding", "effective", "permitted", "ambient" };

	json_open(w, "process", '{');
	json_put_bool(w, "terminal", t->terminal);
	json_open(w, "user", '{');
	json_put_u64(w, "uid", 0);
	json_put_u64(w, "gid", 0);
	if (t->user)
		json_put_str(w, "username", t->user);
	json_close(w, '}');
	put_list(w, "args", t->args);
	put_list(w, "env", t->env);
	json_put_str(w, "cwd", t->cwd);
	json_open(w, "capabilities", '{');
	for (size_t i = 0; i < ARRAY_LEN(sets) - t->no_ambient; i++)
		put_list(w, sets[i], t->caps);
	json_close(w, '}');
	json_open(w, "rlimits", '[');
	json_open(w, NULL, '{');
	json_put_str(w, "type", "RLIMIT_NOFILE");
	json_put_u64(w, "hard", t->nofile_hard);
	json_put_u64(w, "soft", t->nofile_soft);
	json_close(w, '}');
	json_close(w, ']');
	json_put_bool(w, "noNewPrivileges", t->no_new_privs);
	json_close(w, '}');
}

#define OPTIONS_MAX 7

static const struct {
	const char *destination, *type, *source;
	const char *options[OPTIONS_MAX]; /* NULL-terminated */
} mounts[] = {
	{ "/proc", "proc", "proc", { NULL } },
	{ "/dev", "tmpfs", "tmpfs", { "nosuid", "strictatime", "mode=755", "size=65536k" } },
	{ "/dev/pts",
	  "devpts",
	  "devpts",
	  { "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5" } },
	{ "/dev/shm", "tmpfs", "shm", { "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" } },
	{ "/dev/mqueue", "mqueue", "mqueue", { "nosuid", "noexec", "nodev" } },
	{ "/sys", "sysfs", "sysfs", { "nosuid", "noexec", "nodev", "ro" } },
	{ "/sys/fs/cgroup", "cgroup", "cgroup", { "nosuid", "noexec", "nodev", "relatime", "ro" } },
};

static void put_mount(struct json_writer *w, const struct template_mount *m)
{
	json_open(w, NULL, '{');
	json_put_str(w, "destination", m->destination);
	json_put_str(w, "type", m->type);
	json_put_str(w, "source", m->source);
	json_open(w, "options", '[');
	for (const char *p = m->options; *p; p += *p == ',') {
		size_t n = strcspn(p, ",");
		char option[32];

		(void)snprintf(option, sizeof option, "%.*s", (int)n, p);
		json_put_str(w, NULL, option);
		p += n;
	}
	json_close(w, ']');
	json_close(w, '}');
}

static void put_mounts(struct json_writer *w, const struct template *t)
{
	json_open(w, "mounts", '[');
	for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
		json_open(w, NULL, '{');
		json_put_str(w, "destination", mounts[i].destination);
		json_put_str(w, "type", mounts[i].type);
		json_put_str(w, "source", mounts[i].source);
		if (mounts[i].options[0])
			json_open(w, "options", '[');
		for (size_t k = 0; k < OPTIONS_MAX && mounts[i].options[k]; k++)
			/* one ID is mapped, so group 5 (tty) doesn't exist */
			if (!t->rootless || !str_starts(mounts[i].options[k], "gid="))
				json_put_str(w, NULL, mounts[i].options[k]);
		if (mounts[i].options[0])
			json_close(w, ']');
		json_close(w, '}');
	}
	for (size_t i = 0; i < t->n_mounts; i++)
		put_mount(w, &t->mounts[i]);
	json_close(w, ']');
}

static void put_mapping(struct json_writer *w, const char *key, uint64_t host_id)
{
	json_open(w, key, '[');
	json_open(w, NULL, '{');
	json_put_u64(w, "containerID", 0);
	json_put_u64(w, "hostID", host_id);
	json_put_u64(w, "size", 1);
	json_close(w, '}');
	json_close(w, ']');
}

static void put_namespaces(struct json_writer *w, bool rootless)
{
	static const char *const types[] = { "pid", "network", "ipc", "uts", "mount", "cgroup", "user" };
	size_t n = rootless ? ARRAY_LEN(types) : ARRAY_LEN(types) - 1;

	json_open(w, "namespaces", '[');
	for (size_t i = 0; i < n; i++) {
		json_open(w, NULL, '{');
		json_put_str(w, "type", types[i]);
		json_close(w, '}');
	}
	json_close(w, ']');
}

static void put_resources(struct json_writer *w, const struct template *t)
{
	json_open(w, "resources", '{');
	json_open(w, "devices", '[');
	json_open(w, NULL, '{');
	json_put_bool(w, "allow", false);
	json_put_str(w, "access", "rwm");
	json_close(w, '}');
	json_close(w, ']');
	if (t->memory) {
		json_open(w, "memory", '{');
		json_put_u64(w, "limit", t->memory);
		json_close(w, '}');
	}
	if (t->cpu_quota) {
		json_open(w, "cpu", '{');
		json_put_u64(w, "quota", t->cpu_quota);
		json_put_u64(w, "period", TEMPLATE_PERIOD);
		json_close(w, '}');
	}
	json_close(w, '}');
}

static void put_linux(struct json_writer *w, const struct template *t)
{
	static const char *const masked[] = { "/proc/acpi",
					      "/proc/asound",
					      "/proc/kcore",
					      "/proc/keys",
					      "/proc/latency_stats",
					      "/proc/timer_list",
					      "/proc/timer_stats",
					      "/proc/sched_debug",
					      "/sys/firmware",
					      "/proc/scsi",
					      NULL };
	static const char *const readonly[] = { "/proc/bus",           "/proc/fs", "/proc/irq", "/proc/sys",
						"/proc/sysrq-trigger", NULL };

	json_open(w, "linux", '{');
	if (t->rootless) {
		put_mapping(w, "uidMappings", t->uid);
		put_mapping(w, "gidMappings", t->gid);
	} else {
		put_resources(w, t);
	}
	put_namespaces(w, t->rootless);
	put_list(w, "maskedPaths", masked);
	put_list(w, "readonlyPaths", readonly);
	json_close(w, '}');
}

void template_write(const struct template *t, struct str *to)
{
	struct json_writer w = { .to = to, .indent = "\t" };

	json_open(&w, NULL, '{');
	json_put_str(&w, "ociVersion", "1.3.0");
	put_process(&w, t);
	json_open(&w, "root", '{');
	json_put_str(&w, "path", t->root);
	json_put_bool(&w, "readonly", t->root_readonly);
	json_close(&w, '}');
	json_put_str(&w, "hostname", t->hostname);
	put_mounts(&w, t);
	if (t->annotations) {
		json_open(&w, "annotations", '{');
		for (size_t i = 0; i + 1 < t->annotations->n; i += 2)
			json_put_str(&w, t->annotations->p[i], t->annotations->p[i + 1]);
		json_close(&w, '}');
	}
	put_linux(&w, t);
	json_close(&w, '}');
	str_addc(to, '\n');
}
