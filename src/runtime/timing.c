/* timing.c - phases from marks.
 *
 * A mark is a moment; a phase is the time from the mark before it (of any process) to its own. The
 * table below says what each mark ends. Marks that are not in it (the agent's own) are shown as they
 * are. Lines are "ns process name", in the order in which they were written; sorted here by time. */
#include "runtime/timing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/num.h"
#include "oci/json.h"

#define MARKS_MAX 256

struct entry {
	uint64_t ns;
	const char *proc, *name;
};

static const struct {
	const char *mark, *phase, *what;
} phases[] = {
	{ "start", "start", "cor begins" },
	{ "parsed", "parse", "read and check config.json and settings" },
	{ "turn", "turn", "state directory, plan; its turn among those that start" },
	{ "spawned", "spawn", "fork" },
	{ "monitor", "monitor", "exec of the monitor" },
	{ "vm-started", "VM started", "namespaces, exec of the hypervisor" },
	{ "vm-taken", "VM taken", "namespaces, a VM that waited" },
	{ "hooks", "host set-up", "cgroup, shared directory, hooks; beside the hypervisor's start" },
	{ "guest-kernel", "VMM up", "hypervisor's own start, firmware, load of the kernel" },
	{ "agent-main", "kernel", "guest kernel to its first user process" },
	{ "boot-mounts", "agent", "mounts of /proc, /sys, /dev" },
	{ "boot-modules", "agent", "modules: virtio, 9p" },
	{ "boot-settings", "agent", "cgroups, loopback device" },
	{ "boot-parked", "agent", "what most containers want, made in advance" },
	{ "boot-channel", "agent", "virtio port opened" },
	{ "cloned", "VMM up", "hypervisor's own start, state loaded, first message there" },
	{ "hello", "agent", "first message there" },
	{ "agent-ready", "agent", "answer to the monitor" },
	{ "container", "hand-over", "container's description to the agent" },
	{ "share-mounted", "container", "share mounted" },
	{ "images-mounted", "container", "root stacked of an image's layers" },
	{ "container-set-up", "container", "mounts, namespaces, limits in the guest" },
	{ "created", "created", "answer to the monitor" },
	{ "program-running", "run", "exec of the workload" },
	{ "running", "run", "answer to the monitor" },
	{ "container-ended", "workload", "until its process ended" },
	{ "share-flushed", "flush", "what it wrote is with the host" },
	{ "exited", "exit", "answer to the monitor" },
	{ "vm-gone", "exit", "output delivered, VM ended" },
	{ "reaped", "cleanup", "monitor's end" },
};

static int by_time(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->ns < y->ns ? -1 : x->ns > y->ns;
}

/* Splits the text in place. */
static int parse(char *text, struct entry *to, size_t *ret_n)
{
	char *line = text, *next, *proc, *name;
	size_t n = 0;

	for (; *line && n < MARKS_MAX; line = next) {
		next = line + strcspn(line, "\n");
		if (*next)
			*next++ = 0;
		proc = strchr(line, ' ');
		name = proc ? strchr(proc + 1, ' ') : NULL;
		if (!name)
			return -EBADMSG;
		*proc++ = *name++ = 0;
		if (num_parse_u64(line, &to[n].ns) < 0)
			return -EBADMSG;
		to[n].proc = proc;
		to[n].name = name;
		n++;
	}
	qsort(to, n, sizeof *to, by_time);
	*ret_n = n;
	return n ? 0 : -EBADMSG;
}

static size_t find_phase(const char *mark)
{
	for (size_t i = 0; i < ARRAY_LEN(phases); i++)
		if (str_eq(phases[i].mark, mark))
			return i;
	return ARRAY_LEN(phases);
}

static const char *phase_of(const char *mark)
{
	size_t i = find_phase(mark);

	return i < ARRAY_LEN(phases) ? phases[i].phase : mark;
}

static const char *what_of(const char *mark)
{
	size_t i = find_phase(mark);

	return i < ARRAY_LEN(phases) ? phases[i].what : "";
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

int timing_table(const char *marks, struct str *to)
{
	scoped_free char *text = str_fmt("%s", marks);
	scoped_free struct entry *m = calloc(MARKS_MAX, sizeof *m);
	size_t n;
	int r;

	if (!text || !m)
		return -ENOMEM;
	r = parse(text, m, &n);
	if (r < 0)
		return r;
	str_addf(to, "%10s %10s  %-8s %-12s %s\n", "at ms", "took ms", "process", "phase", "");
	for (size_t i = 0; i < n; i++)
		str_addf(to, "%10.1f %10.1f  %-8s %-12s %s\n", ms(m[i].ns - m[0].ns),
			 i ? ms(m[i].ns - m[i - 1].ns) : 0.0, m[i].proc, phase_of(m[i].name),
			 what_of(m[i].name));
	return str_check(to);
}

int timing_json(const char *marks, struct str *to)
{
	scoped_free char *text = str_fmt("%s", marks);
	scoped_free struct entry *m = calloc(MARKS_MAX, sizeof *m);
	struct json_writer w;
	size_t n;
	int r;

	if (!text || !m)
		return -ENOMEM;
	r = parse(text, m, &n);
	if (r < 0)
		return r;
	w = (struct json_writer){ .to = to, .indent = "  " };
	json_open(&w, NULL, '[');
	for (size_t i = 0; i < n; i++) {
		json_open(&w, NULL, '{');
		json_put_str(&w, "phase", phase_of(m[i].name));
		json_put_str(&w, "mark", m[i].name);
		json_put_str(&w, "process", m[i].proc);
		json_put_u64(&w, "atNs", m[i].ns - m[0].ns);
		json_put_u64(&w, "tookNs", i ? m[i].ns - m[i - 1].ns : 0);
		json_close(&w, '}');
	}
	json_close(&w, ']');
	str_addc(to, '\n');
	return str_check(to);
}

static int write_json(const char *path, const char *marks, struct err *e)
{
	scoped_fd fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	scoped_str text = { 0 };
	int r;

	if (fd < 0)
		return err_set(e, -errno, "--timing-json %s: %m", path);
	r = timing_json(marks, &text);
	if (r == 0)
		r = io_write_full(fd, text.p, text.len);
	return r < 0 ? err_set(e, r, "--timing-json %s: %m", path) : 0;
}

int timing_report(int dirfd, const struct cli_create *o, struct err *e)
{
	scoped_free char *marks = NULL;
	scoped_str text = { 0 };
	size_t n;
	int r;

	if (!o->timing && !o->timing_json)
		return 0;
	r = io_read_file_at(dirfd, "marks", 1u << 20, &marks, &n);
	if (r < 0)
		return err_set(e, r, "--timing: marks: %m");
	if (o->timing) {
		r = timing_table(marks, &text);
		if (r < 0)
			return err_set(e, r, "--timing: %m");
		(void)fputs(text.p, stderr);
	}
	return o->timing_json ? write_json(o->timing_json, marks, e) : 0;
}
