/* template.c - see template.h. Called by the `spec` verb. */
#include "oci/template.h"

#include "oci/json.h"

static void put_list(struct json_writer *w, const char *key, const char *const *items)
{
	json_open(w, key, '[');
	for (; *items; items++)
		json_put_str(w, NULL, *items);
	json_close(w, ']');
}

static void put_process(struct json_writer *w)
{
	static const char *const sets[] = { "bounding", "effective", "permitted", "ambient" };
	static const char *const caps[] = { "CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", NULL };
	static const char *const args[] = { "sh", NULL };
	static const char *const env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", NULL
	};

	json_open(w, "process", '{');
	json_put_bool(w, "terminal", true);
	json_open(w, "user", '{');
	json_put_u64(w, "uid", 0);
	json_put_u64(w, "gid", 0);
	json_close(w, '}');
	put_list(w, "args", args);
	put_list(w, "env", env);
	json_put_str(w, "cwd", "/");
	json_open(w, "capabilities", '{');
	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		put_list(w, sets[i], caps);
	json_close(w, '}');
	json_open(w, "rlimits", '[');
	json_open(w, NULL, '{');
	json_put_str(w, "type", "RLIMIT_NOFILE");
	json_put_u64(w, "hard", 1024);
	json_put_u64(w, "soft", 1024);
	json_close(w, '}');
	json_close(w, ']');
	json_put_bool(w, "noNewPrivileges", true);
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

static void put_mounts(struct json_writer *w, bool rootless)
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
			if (!rootless || !str_starts(mounts[i].options[k], "gid="))
				json_put_str(w, NULL, mounts[i].options[k]);
		if (mounts[i].options[0])
			json_close(w, ']');
		json_close(w, '}');
	}
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

static void put_linux(struct json_writer *w, bool rootless, uid_t uid, gid_t gid)
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
	if (rootless) {
		put_mapping(w, "uidMappings", uid);
		put_mapping(w, "gidMappings", gid);
	} else {
		json_open(w, "resources", '{');
		json_open(w, "devices", '[');
		json_open(w, NULL, '{');
		json_put_bool(w, "allow", false);
		json_put_str(w, "access", "rwm");
		json_close(w, '}');
		json_close(w, ']');
		json_close(w, '}');
	}
	put_namespaces(w, rootless);
	put_list(w, "maskedPaths", masked);
	put_list(w, "readonlyPaths", readonly);
	json_close(w, '}');
}

void template_write(bool rootless, uid_t uid, gid_t gid, struct str *to)
{
	struct json_writer w = { .to = to, .indent = "\t" };

	json_open(&w, NULL, '{');
	json_put_str(&w, "ociVersion", "1.3.0");
	put_process(&w);
	json_open(&w, "root", '{');
	json_put_str(&w, "path", "rootfs");
	json_put_bool(&w, "readonly", true);
	json_close(&w, '}');
	json_put_str(&w, "hostname", "cor");
	put_mounts(&w, rootless);
	put_linux(&w, rootless, uid, gid);
	json_close(&w, '}');
	str_addc(to, '\n');
}
