/* cgroup_limits.c - limits of the VMM's cgroup, by table: which OCI field goes to which file of which
 * controller, on v1 and on v2. Called by cgroup.c (create) and the runtime's `update`.
 * Trusts: the numbers' ranges were checked by the spec's validation; the kernel checks again.
 * Never: writes device rules (see cgroup.h). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/io.h"
#include "base/num.h"
#include "sys/cgroup.h"
#include "sys/cgroup_impl.h"

#define LIMIT_FILE_MAX 65536

/* What a text function gets: the limits, the directory, the file that was chosen. */
struct limit_ctx {
	const struct cgroup_limits *l;
	const struct cgroup_dir *d;
	const char *file;
};

/* Appends what is to be written: each line is one write. 0 or -errno. */
typedef int limit_text_fn(const struct limit_ctx *c, struct str *to);

struct limit_row {
	const char *field;         /* as in config.json */
	const char *controller[2]; /* v1, v2 */
	const char *file[2];       /* v1, v2; NULL = another row's file holds it */
	const char *alt[2];        /* other name of the file, tried first; or NULL */
	bool (*is_set)(const struct cgroup_limits *l);
	limit_text_fn *text;
};

/* cpu.shares 2..262144 to cpu.weight 1..10000, as every OCI runtime does. */
uint64_t cgroup_shares_to_weight(uint64_t shares)
{
	if (shares < 2)
		shares = 2;
	if (shares > 262144)
		shares = 262144;
	return 1 + (shares - 2) * 9999 / 262142;
}

/* blkio.weight 10..1000 to io.weight 1..10000. */
uint64_t cgroup_blkio_to_io_weight(uint64_t weight)
{
	if (weight < 10)
		weight = 10;
	return 1 + (weight - 10) * 9999 / 990;
}

static void add_amount(struct str *to, int64_t v, bool v2)
{
	if (v < 0)
		str_add(to, v2 ? "max" : "-1");
	else
		str_addf(to, "%lld", (long long)v);
}

static bool set_memory(const struct cgroup_limits *l)
{
	return l->has_memory && l->memory != 0;
}

static int text_memory(const struct limit_ctx *c, struct str *to)
{
	add_amount(to, c->l->memory, c->d->v2);
	return 0;
}

static bool set_reservation(const struct cgroup_limits *l)
{
	return l->has_reservation && l->reservation != 0;
}

static int text_reservation(const struct limit_ctx *c, struct str *to)
{
	add_amount(to, c->l->reservation, c->d->v2);
	return 0;
}

static bool set_swap(const struct cgroup_limits *l)
{
	return l->has_swap && l->swap != 0;
}

/* OCI and v1 count memory and swap together, v2 swap alone. */
static int text_swap(const struct limit_ctx *c, struct str *to)
{
	int64_t v = c->l->swap;

	if (c->d->v2 && v >= 0) {
		if (!set_memory(c->l) || c->l->memory < 0 || v < c->l->memory)
			return -EINVAL;
		v -= c->l->memory;
	}
	add_amount(to, v, c->d->v2);
	return 0;
}

static bool set_shares(const struct cgroup_limits *l)
{
	return l->has_shares && l->shares != 0;
}

static int text_shares(const struct limit_ctx *c, struct str *to)
{
	uint64_t v = c->d->v2 ? cgroup_shares_to_weight(c->l->shares) : c->l->shares;

	str_addf(to, "%llu", (unsigned long long)v);
	return 0;
}

static bool set_period(const struct cgroup_limits *l)
{
	return l->has_period && l->period != 0;
}

static bool set_quota(const struct cgroup_limits *l)
{
	return l->has_quota && l->quota != 0;
}

/* v2 keeps quota and period in one file, so a new period alone needs the old quota. */
static int text_period(const struct limit_ctx *c, struct str *to)
{
	scoped_free char *path = NULL;
	scoped_free char *old = NULL;
	size_t len;
	int r;

	if (c->d->v2 && set_quota(c->l))
		return 0; /* written with the quota */
	if (c->d->v2) {
		path = str_fmt("%s/%s", c->d->path, c->file);
		if (!path)
			return -ENOMEM;
		r = io_read_file_at(AT_FDCWD, path, LIMIT_FILE_MAX, &old, &len);
		if (r < 0)
			return r;
		str_addn(to, old, strcspn(old, " \n"));
		str_addc(to, ' ');
	}
	str_addf(to, "%llu", (unsigned long long)c->l->period);
	return 0;
}

static int text_quota(const struct limit_ctx *c, struct str *to)
{
	add_amount(to, c->l->quota, c->d->v2);
	if (c->d->v2 && set_period(c->l))
		str_addf(to, " %llu", (unsigned long long)c->l->period);
	return 0;
}

static bool set_burst(const struct cgroup_limits *l)
{
	return l->has_burst;
}

static int text_burst(const struct limit_ctx *c, struct str *to)
{
	str_addf(to, "%llu", (unsigned long long)c->l->burst);
	return 0;
}

static bool set_idle(const struct cgroup_limits *l)
{
	return l->has_idle;
}

static int text_idle(const struct limit_ctx *c, struct str *to)
{
	str_addf(to, "%lld", (long long)c->l->idle);
	return 0;
}

static bool set_cpus(const struct cgroup_limits *l)
{
	return l->cpus && *l->cpus;
}

static int text_cpus(const struct limit_ctx *c, struct str *to)
{
	str_add(to, c->l->cpus);
	return 0;
}

static bool set_mems(const struct cgroup_limits *l)
{
	return l->mems && *l->mems;
}

static int text_mems(const struct limit_ctx *c, struct str *to)
{
	str_add(to, c->l->mems);
	return 0;
}

static bool set_pids(const struct cgroup_limits *l)
{
	return l->has_pids;
}

static int text_pids(const struct limit_ctx *c, struct str *to)
{
	int64_t v = c->l->pids;

	if (v >= 0 && v <= INT32_MAX)
		v += CGROUP_VMM_PIDS;
	add_amount(to, v, true); /* pids.max takes "max" on v1 too */
	return 0;
}

static uint64_t weight_for(const char *file, uint64_t weight)
{
	return str_eq(file, "io.weight") ? cgroup_blkio_to_io_weight(weight) : weight;
}

static bool set_weight(const struct cgroup_limits *l)
{
	return l->has_weight && l->weight != 0;
}

static int text_weight(const struct limit_ctx *c, struct str *to)
{
	str_addf(to, "%llu", (unsigned long long)weight_for(c->file, c->l->weight));
	return 0;
}

static bool set_weight_device(const struct cgroup_limits *l)
{
	return l->weight_device.n > 0;
}

static int text_weight_device(const struct limit_ctx *c, struct str *to)
{
	const struct cgroup_dev_value *v = c->l->weight_device.p;
	size_t i;

	for (i = 0; i < c->l->weight_device.n; i++)
		str_addf(to, "%u:%u %llu\n", v[i].major, v[i].minor,
			 (unsigned long long)weight_for(c->file, v[i].value));
	return 0;
}

/* v1 takes the number, 0 = none; v2 "key=number" or "key=max". */
static int text_throttle(const struct cgroup_dev_values *v, const char *key, bool v2, struct str *to)
{
	size_t i;

	for (i = 0; i < v->n; i++) {
		str_addf(to, "%u:%u ", v->p[i].major, v->p[i].minor);
		if (v2)
			str_addf(to, "%s=", key);
		if (v2 && v->p[i].value == 0)
			str_add(to, "max\n");
		else
			str_addf(to, "%llu\n", (unsigned long long)v->p[i].value);
	}
	return 0;
}

static bool set_read_bps(const struct cgroup_limits *l)
{
	return l->read_bps.n > 0;
}

static int text_read_bps(const struct limit_ctx *c, struct str *to)
{
	return text_throttle(&c->l->read_bps, "rbps", c->d->v2, to);
}

static bool set_write_bps(const struct cgroup_limits *l)
{
	return l->write_bps.n > 0;
}

static int text_write_bps(const struct limit_ctx *c, struct str *to)
{
	return text_throttle(&c->l->write_bps, "wbps", c->d->v2, to);
}

static bool set_read_iops(const struct cgroup_limits *l)
{
	return l->read_iops.n > 0;
}

static int text_read_iops(const struct limit_ctx *c, struct str *to)
{
	return text_throttle(&c->l->read_iops, "riops", c->d->v2, to);
}

static bool set_write_iops(const struct cgroup_limits *l)
{
	return l->write_iops.n > 0;
}

static int text_write_iops(const struct limit_ctx *c, struct str *to)
{
	return text_throttle(&c->l->write_iops, "wiops", c->d->v2, to);
}

#define CTRL(v1, v2)                                                                                         \
	{                                                                                                    \
		v1, v2                                                                                       \
	}
#define FILES(v1, v2)                                                                                        \
	{                                                                                                    \
		v1, v2                                                                                       \
	}

static const struct limit_row rows[] = {
	{ "linux.resources.memory.limit", CTRL("memory", "memory"),
	  FILES("memory.limit_in_bytes", "memory.max"), FILES(NULL, NULL), set_memory, text_memory },
	{ "linux.resources.memory.swap", CTRL("memory", "memory"),
	  FILES("memory.memsw.limit_in_bytes", "memory.swap.max"), FILES(NULL, NULL), set_swap, text_swap },
	{ "linux.resources.memory.reservation", CTRL("memory", "memory"),
	  FILES("memory.soft_limit_in_bytes", "memory.low"), FILES(NULL, NULL), set_reservation,
	  text_reservation },
	{ "linux.resources.cpu.shares", CTRL("cpu", "cpu"), FILES("cpu.shares", "cpu.weight"),
	  FILES(NULL, NULL), set_shares, text_shares },
	{ "linux.resources.cpu.period", CTRL("cpu", "cpu"), FILES("cpu.cfs_period_us", "cpu.max"),
	  FILES(NULL, NULL), set_period, text_period },
	{ "linux.resources.cpu.quota", CTRL("cpu", "cpu"), FILES("cpu.cfs_quota_us", "cpu.max"),
	  FILES(NULL, NULL), set_quota, text_quota },
	{ "linux.resources.cpu.burst", CTRL("cpu", "cpu"), FILES("cpu.cfs_burst_us", "cpu.max.burst"),
	  FILES(NULL, NULL), set_burst, text_burst },
	{ "linux.resources.cpu.idle", CTRL("cpu", "cpu"), FILES("cpu.idle", "cpu.idle"), FILES(NULL, NULL),
	  set_idle, text_idle },
	{ "linux.resources.cpu.cpus", CTRL("cpuset", "cpuset"), FILES("cpuset.cpus", "cpuset.cpus"),
	  FILES(NULL, NULL), set_cpus, text_cpus },
	{ "linux.resources.cpu.mems", CTRL("cpuset", "cpuset"), FILES("cpuset.mems", "cpuset.mems"),
	  FILES(NULL, NULL), set_mems, text_mems },
	{ "linux.resources.pids.limit", CTRL("pids", "pids"), FILES("pids.max", "pids.max"),
	  FILES(NULL, NULL), set_pids, text_pids },
	{ "linux.resources.blockIO.weight", CTRL("blkio", "io"), FILES("blkio.weight", "io.weight"),
	  FILES("blkio.bfq.weight", "io.bfq.weight"), set_weight, text_weight },
	{ "linux.resources.blockIO.weightDevice", CTRL("blkio", "io"),
	  FILES("blkio.weight_device", "io.weight"), FILES("blkio.bfq.weight_device", "io.bfq.weight"),
	  set_weight_device, text_weight_device },
	{ "linux.resources.blockIO.throttleReadBpsDevice", CTRL("blkio", "io"),
	  FILES("blkio.throttle.read_bps_device", "io.max"), FILES(NULL, NULL), set_read_bps, text_read_bps },
	{ "linux.resources.blockIO.throttleWriteBpsDevice", CTRL("blkio", "io"),
	  FILES("blkio.throttle.write_bps_device", "io.max"), FILES(NULL, NULL), set_write_bps,
	  text_write_bps },
	{ "linux.resources.blockIO.throttleReadIOPSDevice", CTRL("blkio", "io"),
	  FILES("blkio.throttle.read_iops_device", "io.max"), FILES(NULL, NULL), set_read_iops,
	  text_read_iops },
	{ "linux.resources.blockIO.throttleWriteIOPSDevice", CTRL("blkio", "io"),
	  FILES("blkio.throttle.write_iops_device", "io.max"), FILES(NULL, NULL), set_write_iops,
	  text_write_iops },
};

/* The directory that serves the row, or NULL. */
static const struct cgroup_dir *row_dir(const struct cgroup *c, const struct limit_row *row)
{
	const struct cgroup_dir *d = cgroup_dir_for(c, row->controller[0]);

	if (d && !d->v2)
		return d;
	d = cgroup_dir_for(c, row->controller[1]);
	return d && d->v2 ? d : NULL;
}

static bool row_needs(const struct limit_row *row, const struct cgroup_dir *d)
{
	return cgroup_dir_has(d, row->controller[d->v2]);
}

/* "memory.high" belongs to "memory". */
static bool key_needs(const char *key, const struct cgroup_dir *d)
{
	scoped_free char *controller = strndup(key, strcspn(key, "."));

	return d->v2 && controller && (cgroup_dir_has(d, controller) || str_eq(controller, "cgroup"));
}

bool cgroup_limits_need(const struct cgroup_limits *l, const struct cgroup_dir *d, const char **ret_field,
			const char **ret_controller)
{
	size_t i;

	for (i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].is_set(l) && row_needs(&rows[i], d)) {
			*ret_field = rows[i].field;
			*ret_controller = rows[i].controller[d->v2];
			return true;
		}
	for (i = 0; i < l->n_unified; i++)
		if (key_needs(l->unified[i].key, d)) {
			*ret_field = "linux.resources.unified";
			*ret_controller = l->unified[i].key;
			return true;
		}
	return false;
}

/* One write per line: the kernel takes one device a time. */
static int write_lines(int dirfd, const char *file, const char *text)
{
	scoped_strv lines = { 0 };
	size_t i;
	int r = 0;

	strv_split(&lines, text, '\n');
	if (strv_check(&lines) < 0)
		return -ENOMEM;
	for (i = 0; r == 0 && i < lines.n; i++)
		if (*lines.p[i])
			r = io_write_existing_at(dirfd, file, lines.p[i]);
	return r;
}

static const char *pick_file(int dirfd, const struct limit_row *row, bool v2)
{
	if (row->alt[v2] && faccessat(dirfd, row->alt[v2], F_OK, 0) == 0)
		return row->alt[v2];
	return row->file[v2];
}

static int apply_row(const struct limit_row *row, const struct cgroup *c, const struct cgroup_limits *l,
		     struct err *e)
{
	struct limit_ctx ctx = { .l = l, .d = row_dir(c, row) };
	scoped_str text = { 0 };
	scoped_fd dir = -1;
	int r;

	if (!ctx.d)
		return err_set(e, -EOPNOTSUPP, "%s: no cgroup of this host has the %s controller", row->field,
			       row->controller[0]);
	dir = open(ctx.d->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set(e, -errno, "%s: cgroup %s: %m", row->field, ctx.d->path);
	ctx.file = pick_file(dir, row, ctx.d->v2);
	r = row->text(&ctx, &text);
	if (r == 0)
		r = str_check(&text);
	if (r == 0 && text.len > 0)
		r = write_lines(dir, ctx.file, text.p);
	if (r == -ENOENT)
		return err_set(e, -EOPNOTSUPP, "%s: the %s controller of this host has no %s in %s",
			       row->field, row->controller[ctx.d->v2], ctx.file, ctx.d->path);
	if (r < 0)
		return err_set(e, r, "%s: %s/%s: writing \"%s\": %m", row->field, ctx.d->path, ctx.file,
			       text.p ? text.p : "");
	return 0;
}

/* Sizes of the container become sizes of the VMM, as with the other fields. Returns NULL if memory
 * ran out. */
static char *unified_value(const struct cgroup_kv *kv, const struct cgroup_limits *l)
{
	static const char *const sizes[] = { "memory.max", "memory.high", "memory.low", "memory.min" };
	uint64_t v, sum, more = 0;
	size_t i;

	for (i = 0; i < ARRAY_LEN(sizes); i++)
		if (str_eq(kv->key, sizes[i]))
			more = l->memory_overhead;
	if (str_eq(kv->key, "pids.max"))
		more = CGROUP_VMM_PIDS;
	if (more && num_parse_u64(kv->value, &v) == 0 && num_add(v, more, &sum) == 0)
		return str_fmt("%llu", (unsigned long long)sum);
	return strdup(kv->value);
}

static int apply_unified(const struct cgroup *c, const struct cgroup_kv *kv, const struct cgroup_limits *l,
			 struct err *e)
{
	scoped_free char *value = unified_value(kv, l);
	scoped_fd dir = -1;
	int r;

	if (!value)
		return err_set(e, -ENOMEM, "linux.resources.unified: %m");
	if (!*kv->key || strchr(kv->key, '/') || str_eq(kv->key, "..") || str_eq(kv->key, "."))
		return err_set(e, -EINVAL, "linux.resources.unified: \"%s\" is no file of a cgroup", kv->key);
	if (c->n == 0 || !c->dirs[0].v2)
		return err_set(
			e, -EOPNOTSUPP,
			"linux.resources.unified.%s: this needs cgroup v2, which this host does not have",
			kv->key);
	dir = open(c->dirs[0].path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set(e, -errno, "linux.resources.unified: cgroup %s: %m", c->dirs[0].path);
	r = write_lines(dir, kv->key, value);
	if (r == -ENOENT)
		return err_set(e, -EOPNOTSUPP,
			       "linux.resources.unified.%s: cgroup %s has no such file; is its controller "
			       "there?",
			       kv->key, c->dirs[0].path);
	if (r < 0)
		return err_set(e, r, "linux.resources.unified.%s: writing \"%s\": %m", kv->key, value);
	return 0;
}

int cgroup_apply(const struct cgroup *c, const struct cgroup_limits *l, struct err *e)
{
	bool again[ARRAY_LEN(rows)] = { false };
	size_t i;
	int r;

	if (c->manager == CGROUP_DISABLED)
		return 0;
	if (c->manager == CGROUP_SYSTEMD && !c->placeholder) {
		r = cgroup_systemd_update(c, l, e);
		if (r < 0)
			return r;
	}
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		if (!rows[i].is_set(l))
			continue;
		r = apply_row(&rows[i], c, l, e);
		/* memory and memory+swap, quota and period bound each other: which one can be
		 * written first depends on the old values, so what is refused gets a second turn. */
		again[i] = r == -EINVAL || r == -EBUSY;
		if (r < 0 && !again[i])
			return r;
	}
	for (i = 0; i < ARRAY_LEN(rows); i++) {
		r = again[i] ? apply_row(&rows[i], c, l, e) : 0;
		if (r < 0)
			return r;
	}
	for (i = 0; i < l->n_unified; i++) {
		r = apply_unified(c, &l->unified[i], l, e);
		if (r < 0)
			return r;
	}
	return 0;
}
