/* open.c - see open.h. Called by cli.c before the machine is built; afterwards nothing is opened any more.
 * Trusts: the command line, which is the host administrator's or the monitor's. */
#include "vmm/open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include "base/io.h"
#include "base/num.h"
#include "vmm/note.h"

int open_file(const char *what, const char *name, int flags, int *ret, struct err *e)
{
	uint64_t n;
	int fd;

	if (str_starts(name, "fd:")) {
		if (num_parse_u64_max(name + 3, 65535, &n) < 0 || fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0)
			return err_set(e, -EBADF, "--%s %s: not an open fd", what, name);
		*ret = (int)n;
		return 0;
	}
	fd = open(name, flags | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd < 0)
		return err_set(e, -errno, "--%s %s: %m", what, name);
	*ret = fd;
	return 0;
}

/* What a caller must have open already: no path leads to it. */
static int open_given(const char *what, const char *wants, const char *name, int *ret, struct err *e)
{
	if (!str_starts(name, "fd:"))
		return err_set(e, -EINVAL, "--%s %s: wants %s, an open fd", what, name, wants);
	return open_file(what, name, O_RDWR, ret, e);
}

static int dup_fd(int fd, int *ret, struct err *e)
{
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret < 0 ? err_set(e, -errno, "duplicate an fd: %m") : 0;
}

static int set_nonblocking(const char *what, int fd, struct err *e)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? err_set(e, -errno, "--%s: %m", what)
								       : 0;
}

/* ---- the console ---- */

/* What takes the guest's output: nobody who does not read holds the machine up. A file never makes it wait.
 */
static int open_output(const char *what, const char *name, int *ret, struct err *e)
{
	int r = open_file(what, name, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK, ret, e);

	if (r == -ENXIO)
		return err_set(e, r, "--%s %s: nobody reads it: start the reader of a FIFO first", what,
			       name);
	return r == 0 && str_starts(name, "fd:") ? set_nonblocking(what, *ret, e) : r;
}

static int open_stdio(struct console_cfg *c, struct err *e)
{
	c->in_fd = io_unshare_open(STDIN_FILENO);
	c->out_fd = io_unshare_open(STDOUT_FILENO);
	if (c->out_fd < 0)
		return err_set(e, c->out_fd, "--console stdio: %m");
	return 0; /* without a stdin there is no input */
}

static int open_pty(struct console_cfg *c, struct err *e)
{
	char name[64];
	int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

	c->in_fd = fd;
	if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0 || ptsname_r(fd, name, sizeof name) != 0)
		return err_set(e, -errno, "--console pty: %m");
	note("console=%s", name);
	return dup_fd(fd, &c->out_fd, e);
}

static int open_serial(const char *where, int *ret, struct err *e)
{
	if (!str_eq(where, "stdio"))
		return open_output("serial", where, ret, e);
	*ret = io_unshare_open(STDOUT_FILENO);
	return *ret < 0 ? err_set(e, *ret, "--serial stdio: %m") : 0;
}

static int open_console(const char *where, struct console_cfg *c, struct err *e)
{
	int r;

	if (str_eq(where, "none"))
		return 0;
	if (!where || str_eq(where, "stdio"))
		return open_stdio(c, e);
	if (str_eq(where, "pty"))
		return open_pty(c, e);
	r = open_output("console", where, &c->out_fd, e);
	return r == 0 && str_starts(where, "fd:") ? dup_fd(c->out_fd, &c->in_fd, e) : r;
}

/* "NAME=REST": the name is kept in texts; *ret_rest is behind the '='. */
static int split_name(const char *what, const char *text, struct strv *texts, const char **ret_name,
		      const char **ret_rest, struct err *e)
{
	const char *eq = strchr(text, '=');

	if (!eq || eq == text)
		return err_set(e, -EINVAL, "--%s %s: wants NAME=...", what, text);
	strv_addf(texts, "%.*s", (int)(eq - text), text);
	if (strv_check(texts) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	*ret_name = texts->p[texts->n - 1];
	*ret_rest = eq + 1;
	return 0;
}

static int open_port(const char *text, struct strv *texts, struct console_cfg *c, struct err *e)
{
	const char *fd;
	int r = split_name("port", text, texts, &c->port_name, &fd, e);

	if (r == 0)
		r = open_given("port", "NAME=fd:N", fd, &c->port_in_fd, e);
	if (r == 0)
		r = set_nonblocking("port", c->port_in_fd, e);
	c->has_port = true;
	return r == 0 ? dup_fd(c->port_in_fd, &c->port_out_fd, e) : r;
}

/* ---- disks and pmem: FILE[,WORD] ---- */

/* The file's name without the word behind its last comma, kept in texts; *ret_word is NULL if there is none
 * of `words`. */
static const char *split_word(const char *text, const char *const *words, size_t n, struct strv *texts,
			      const char **ret_word)
{
	const char *comma = strrchr(text, ',');

	*ret_word = NULL;
	for (size_t i = 0; comma && i < n; i++)
		if (str_eq(comma + 1, words[i]))
			*ret_word = words[i];
	if (!*ret_word)
		return text;
	strv_addf(texts, "%.*s", (int)(comma - text), text);
	return strv_check(texts) < 0 ? text : texts->p[texts->n - 1];
}

static int open_disk(const char *text, struct strv *texts, struct vmm_cfg *cfg, struct err *e)
{
	static const char *const words[] = { "ro" };
	struct blk_cfg *b = &cfg->disks[cfg->n_disks];
	const char *word, *name = split_word(text, words, ARRAY_LEN(words), texts, &word);

	strv_addf(texts, "disk%u", cfg->n_disks);
	if (strv_check(texts) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	*b = (struct blk_cfg){ .index = cfg->n_disks++,
			       .fd = -1,
			       .read_only = word != NULL,
			       .n_queues = 1,
			       .serial = texts->p[texts->n - 1] };
	return open_file("disk", name, b->read_only ? O_RDONLY : O_RDWR, &b->fd, e);
}

static int open_pmem(const char *text, struct strv *texts, struct vmm_cfg *cfg, struct err *e)
{
	static const char *const words[] = { "ro", "private" };
	struct pmem_cfg *p = &cfg->pmems[cfg->n_pmems];
	const char *word, *name = split_word(text, words, ARRAY_LEN(words), texts, &word);

	*p = (struct pmem_cfg){ .index = cfg->n_pmems++, .fd = -1, .mode = PMEM_SHARED_N };
	if (word)
		p->mode = word == words[0] ? PMEM_READ_ONLY_N : PMEM_PRIVATE_N;
	return open_file("pmem", name, word ? O_RDONLY : O_RDWR, &p->fd, e);
}

/* ---- network ---- */

static int open_tap(const char *name, int *ret, struct err *e)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	size_t n = strlen(name);
	int fd;

	if (n == 0 || n >= sizeof ifr.ifr_name)
		return err_set(e, -EINVAL, "--net tap=%s: no name of an interface", name);
	memcpy(ifr.ifr_name, name, n);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	*ret = fd;
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0)
		return err_set(e, -errno, "--net tap=%s: %m", name);
	return 0;
}

static int open_net(const char *text, struct vmm_cfg *cfg, struct err *e)
{
	struct net_cfg *n = &cfg->nets[cfg->n_nets];
	int r;

	*n = (struct net_cfg){ .index = cfg->n_nets++, .fd = -1 };
	if (getrandom(n->mac, sizeof n->mac, 0) != sizeof n->mac)
		return err_set(e, -errno, "random MAC address: %m");
	n->mac[0] = (n->mac[0] & 0xFC) | 2; /* locally administered, one station */
	if (str_starts(text, "tap="))
		return open_tap(text + 4, &n->fd, e);
	r = open_given("net", "tap=NAME or fd:N", text, &n->fd, e);
	return r == 0 ? set_nonblocking("net", n->fd, e) : r;
}

/* ---- shared directories ---- */

static int open_fs(const char *text, struct strv *texts, struct vmm_cfg *cfg, struct err *e)
{
	struct fs_cfg *f = &cfg->fs[cfg->n_fs++];
	const char *where;
	int r;

	*f = (struct fs_cfg){ .sock = -1, .n_requests = 1 };
	r = split_name("fs", text, texts, &f->tag, &where, e);
	return r == 0 ? open_given("fs", "TAG=fd:N", where, &f->sock, e) : r;
}

static int open_virtiofs(const char *text, struct strv *texts, struct vmm_cfg *cfg, struct err *e)
{
	struct virtiofs_cfg *f = &cfg->virtiofs;
	const char *where;
	int r;

	cfg->has_virtiofs = true;
	*f = (struct virtiofs_cfg){ .fd = -1 };
	r = split_name("virtiofs", text, texts, &f->tag, &where, e);
	return r == 0 ? open_given("virtiofs", "TAG=fd:N", where, &f->fd, e) : r;
}

/* ---- all ---- */

/* A restored machine's memory must be there: an empty file would be none. */
static int memory_flags(const struct options *o)
{
	if (o->clone)
		return O_RDONLY;
	return o->restore ? O_RDWR : O_RDWR | O_CREAT;
}

/* Every file that is only opened. */
static int open_plain(const struct options *o, struct vmm_cfg *cfg, struct err *e)
{
	const struct {
		const char *what, *name;
		int flags, *fd;
	} files[] = {
		{ "kernel", o->kernel, O_RDONLY, &cfg->kernel_fd },
		{ "initrd", o->initrd, O_RDONLY, &cfg->initrd_fd },
		{ "kvm", o->kvm, O_RDWR, &cfg->kvm_fd },
		{ "restore", o->restore, O_RDONLY, &cfg->state_fd },
		{ "memory-file", o->memory_file, memory_flags(o), &cfg->memory_fd },
		{ "hot", o->hot, O_RDONLY, &cfg->hot_fd },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(files) && r == 0; i++)
		if (files[i].name)
			r = open_file(files[i].what, files[i].name, files[i].flags, files[i].fd, e);
	return r;
}

static int open_lists(const struct options *o, struct strv *texts, struct vmm_cfg *cfg, struct err *e)
{
	int r = 0;

	if (o->nets.n > VMM_NETS_MAX || o->fs.n > VMM_FS_MAX)
		return err_set(e, -E2BIG, "at most %d --net and %d --fs", VMM_NETS_MAX, VMM_FS_MAX);
	for (unsigned i = 0; i < o->pmems.n && r == 0; i++)
		r = open_pmem(o->pmems.v[i], texts, cfg, e);
	for (unsigned i = 0; i < o->disks.n && r == 0; i++)
		r = open_disk(o->disks.v[i], texts, cfg, e);
	for (unsigned i = 0; i < o->nets.n && r == 0; i++)
		r = open_net(o->nets.v[i], cfg, e);
	for (unsigned i = 0; i < o->fs.n && r == 0; i++)
		r = open_fs(o->fs.v[i], texts, cfg, e);
	return r;
}

int open_all(const struct options *o, struct strv *texts, struct vmm_cfg *cfg, struct err *e)
{
	int r = open_plain(o, cfg, e);

	_Static_assert(OPTION_REPEAT_MAX <= VMM_DISKS_MAX && OPTION_REPEAT_MAX <= VMM_PMEMS_MAX, "room");
	if (r == 0 && o->serial)
		r = open_serial(o->serial, &cfg->serial_fd, e);
	if (r == 0)
		r = open_console(o->console, &cfg->console, e);
	if (r == 0 && o->port)
		r = open_port(o->port, texts, &cfg->console, e);
	if (r == 0 && o->virtiofs)
		r = open_virtiofs(o->virtiofs, texts, cfg, e);
	return r == 0 ? open_lists(o, texts, cfg, e) : r;
}

int open_control(const char *name, int *ret, struct err *e)
{
	const char *base = strrchr(name, '/');
	scoped_free char *dir = NULL;
	scoped_fd at = -1;

	if (str_starts(name, "fd:"))
		return open_file("control", name, O_RDWR, ret, e);
	dir = base ? str_fmt("%.*s", (int)(base - name + 1), name) : str_fmt(".");
	at = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	*ret = at < 0 ? -errno : io_unix_listen_at(at, base ? base + 1 : name, 4);
	return *ret < 0 ? err_set(e, *ret, "--control %s: %m", name) : 0;
}
