/* boot.c - see boot.h. Trusts: the initramfs (ours) and the kernel command line (the host's).
 * Never: gives up on what a container can do without; that is logged to the console. */
#include "agent/boot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "agent/agent.h"
#include "agent/early.h"
#include "agent/layers.h"
#include "base/io.h"
#include "base/log.h"
#include "base/str.h"
#include "sys/cg2.h"
#include "wire/msg.h"

#define PORT_NAME      "cor.agent"
#define PORTS_DIR      "/sys/class/virtio-ports"
#define MODULES_LIST   "/lib/modules/load"     /* a path a line */
#define MODULES_DEMAND "/lib/modules/ondemand" /* "NAME PATH PATH ..." a line */
/* Each makes a container's cgroup dearer: the rest comes when it is asked for (ctr.c). */
#define CONTROLLERS "cpu cpuset memory pids io"
#define CGROUP_DIR  "/sys/fs/cgroup"
/* A word of the kernel command line: the machine can't power off, but ends at a reset. */
#define REBOOT_WORD "cor.end=reboot"

static const struct {
	const char *type, *dir;
	unsigned long flags;
	const char *data;
} mounts[] = {
	{ "proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
	{ "sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
	{ "devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=755" },
	{ "tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=755" },
	{ "cgroup2", CGROUP_DIR, MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
};

/* The initramfs is the one root that pivot_root refuses to leave: it has no parent mount. A copy of
 * it mounted over itself has. */
static int make_root_movable(struct err *e)
{
	if (mount("/", "/run", NULL, MS_BIND, NULL) < 0 || chdir("/run") < 0 ||
	    mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_set(e, -errno, "root of the guest: %m");
	return 0;
}

static int mount_all(struct err *e)
{
	for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
		(void)mkdir(mounts[i].dir, 0755); /* there already, or the mount says why not */
		if (mount(mounts[i].type, mounts[i].dir, mounts[i].type, mounts[i].flags, mounts[i].data) <
			    0 &&
		    errno != EBUSY) /* the kernel may have mounted devtmpfs itself */
			return err_set(e, -errno, "mount %s on %s: %m", mounts[i].type, mounts[i].dir);
	}
	return io_mkdirs(BOOT_SHARE_DIR, 0755);
}

/* fds 0 to 2 must not be anything else, ever. */
static void hold_stdio(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	for (int i = 0; i < 3; i++)
		if (fd >= 0 && fd != i && dup2(fd, i) < 0)
			return;
	if (fd > 2)
		(void)close(fd);
}

static int load_module(const char *path)
{
	scoped_fd fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST ? -errno : 0;
}

static void load_modules(void)
{
	scoped_free char *list = NULL;
	char *rest, *path;
	size_t n;
	int r;

	r = io_read_file_at(AT_FDCWD, MODULES_LIST, 1u << 20, &list, &n);
	if (r < 0)
		return; /* a kernel with everything built in has no list */
	rest = list;
	while ((path = strsep(&rest, "\n")) != NULL) {
		r = *path ? load_module(path) : 0;
		if (r < 0)
			log_error("module %s: %s", path, strerror(-r));
	}
}

static void raise_loopback(void)
{
	scoped_fd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		log_warn("loopback interface: %s", strerror(errno));
}

/* Loads what the words of the line name. */
static void load_line(const char *line)
{
	scoped_free char *words = strndup(line, strcspn(line, "\n"));
	char *rest = words, *path;
	int r;

	while ((path = strsep(&rest, " ")) != NULL) {
		r = *path ? load_module(path) : 0;
		if (r < 0)
			log_error("module %s: %s", path, strerror(-r));
	}
}

void boot_load_on_demand(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = list; len && line && *line; line += strcspn(line, "\n")) {
		line += strspn(line, "\n");
		if (strncmp(line, name, len) == 0 && line[len] == ' ')
			load_line(line + len);
	}
}

int boot_extra_sysfs(struct err *e)
{
	if (mkdir(BOOT_SYSFS_DIR, 0755) < 0)
		return errno == EEXIST ? 0 : err_set(e, -errno, "make " BOOT_SYSFS_DIR ": %m");
	if (mount("sysfs", BOOT_SYSFS_DIR, "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return err_set(e, -errno, "mount " BOOT_SYSFS_DIR ": %m");
	return 0;
}

uint64_t boot_now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t); /* can't fail */
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* What is missing is missed when images are mounted. */
static void load_layer_modules(const char *demand)
{
	static const char *const modules[] = { "nd_pmem", "virtio_pmem", "crc32c_generic", "erofs",
					       "overlay" };
	static const char *const disk_modules[] = { "virtio_blk", "ext4" };

	if (layers_announced() == 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(modules); i++)
		boot_load_on_demand(demand, modules[i]);
	for (size_t i = 0; i < ARRAY_LEN(disk_modules) && boot_has_word(WORD_DISK); i++)
		boot_load_on_demand(demand, disk_modules[i]);
}

int boot_guest(int *ret_cgroup, char **ret_demand, struct boot_times *times, struct err *e)
{
	size_t n;
	scoped_fd cg = -1;
	int r;

	r = make_root_movable(e);
	if (r == 0)
		r = mount_all(e);
	if (r < 0)
		return r;
	hold_stdio();
	times->mounts = boot_now_ns();
	load_modules();
	may_fail(io_read_file_at(AT_FDCWD, MODULES_DEMAND, 1u << 20, ret_demand,
				 &n)); /* no list: nothing to load */
	if (boot_has_word(WORD_VIRTIOFS))
		boot_load_on_demand(*ret_demand, "virtiofs");
	load_layer_modules(*ret_demand);
	times->modules = boot_now_ns();
	raise_loopback();
	cg = open(CGROUP_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = cg < 0 ? -errno : cg2_enable(cg, CONTROLLERS);
	if (r < 0)
		return err_set(e, r, "cgroups of the guest: %m");
	r = early_run(EARLY_LIST, "/proc/sys", e);
	if (r < 0)
		return r;
	times->settings = boot_now_ns();
	*ret_cgroup = take_fd(&cg);
	return 0;
}

/* The port's device number by its name, as text "vport0p1" (free()); NULL if it isn't there yet. */
static char *find_port(void)
{
	scoped_dir dir = opendir(PORTS_DIR);
	struct dirent *ent;

	while (dir && (ent = readdir(dir)) != NULL) {
		scoped_free char *file = str_fmt("%s/name", ent->d_name), *name = NULL;
		size_t n;

		if (ent->d_name[0] == '.' || !file || io_read_file_at(dirfd(dir), file, 256, &name, &n) < 0)
			continue;
		name[strcspn(name, "\n")] = '\0';
		if (strcmp(name, PORT_NAME) == 0)
			return str_fmt("/dev/%s", ent->d_name);
	}
	return NULL;
}

int boot_open_uevents(void)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	scoped_fd fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&addr, sizeof addr) < 0)
		return -errno;
	return take_fd(&fd);
}

/* Until the host's end is open a port reads as at its end. Its poll wakes when that changes, which
 * an edge-triggered wait sees without spinning. */
static int await_host(int port)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
	scoped_fd ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, port, &ev) < 0)
		return -errno;
	for (;;) {
		if (epoll_wait(ep, &ev, 1, -1) < 0 && errno != EINTR)
			return -errno;
		if (!(ev.events & EPOLLHUP))
			return 0;
	}
}

int boot_open_channel(int *ret_fd, struct err *e)
{
	scoped_fd events = boot_open_uevents(), fd = -1;
	char drop[4096];
	int r;

	if (events < 0)
		return err_set(e, events, "device events: %m");
	for (;;) {
		scoped_free char *path = find_port();

		fd = path ? open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC) : -1;
		if (fd >= 0)
			break;
		if (path && errno != ENOENT)
			return err_set(e, -errno, "agent channel %s: %m", path);
		/* What the event says is of no interest, only that there was one; a lost one (ENOBUFS) is
		 * one. */
		if (recv(events, drop, sizeof drop, 0) < 0 && errno != EINTR && errno != ENOBUFS)
			return err_set(e, -errno, "device events: %m");
	}
	r = await_host(fd);
	if (r < 0)
		return err_set(e, r, "agent channel: %m");
	*ret_fd = take_fd(&fd);
	return 0;
}

static char *find_word(const char *begin, bool whole)
{
	scoped_free char *line = NULL;
	char *rest, *w;
	size_t n;

	if (io_read_file_at(AT_FDCWD, "/proc/cmdline", 65536, &line, &n) < 0)
		return NULL;
	rest = line;
	while ((w = strsep(&rest, " \n")) != NULL)
		if (str_starts(w, begin) && (!whole || !w[strlen(begin)]))
			return strdup(w + strlen(begin));
	return NULL;
}

char *boot_word_value(const char *begin)
{
	return find_word(begin, false);
}

bool boot_has_word(const char *word)
{
	scoped_free char *end = find_word(word, true);

	return end != NULL;
}

void boot_end(void)
{
	sync();
	(void)umount2(BOOT_SHARE_DIR, MNT_DETACH); /* not mounted, or gone with the machine */
	(void)reboot(boot_has_word(REBOOT_WORD) ? RB_AUTOBOOT : RB_POWER_OFF);
	/* A kernel without power off refuses or halts; a reset ends the machine as well. */
	(void)reboot(RB_AUTOBOOT);
}
