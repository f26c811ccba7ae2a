/* fake-qemu.c - stands where QEMU stands, without a machine: runs cor-agent in fresh namespaces.
 *
 * The cli lane names it by qemu.path. It is given QEMU's own arguments and fds (agent channel 3, console 4,
 * QMP 5), and by qemu.params "--fake-agent PATH". It finds the share in -fsdev, starts
 *     PATH --test-fd 3 --share DIR
 * as PID 1 of new namespaces, answers QMP, stops and continues the "guest" by signals, and ends with it. What
 * a guest kernel does (modules, 9p, panic) is not tested with it. Further arguments of qemu.params break it
 * on purpose: "--fake-die-at boot" (ends at once with an error), "--fake-mute" (the agent never starts),
 * "--fake-mute-clone" (the same, only in a clone).
 *
 * As the maker of a template (share=on) it makes the memory file, reports an open port and "saves" a few
 * bytes to the descriptor it was given. As a clone (-incoming) it starts the agent as ever: that its memory
 * is not the template's is not seen from outside. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FD_AGENT = 3, FD_CONSOLE, FD_QMP, FD_MEMORY };
#define MEMORY_NAME "/dev/fd/cor-memory"

struct args {
	const char *agent, *die_at;
	char share[4096], memory[4096];
	unsigned long long memory_mib;
	bool mute, mute_clone, clone, maker;
};

/* The descriptor that came with "getfd"; -1 = none. */
static int state_fd = -1;

static void say(int fd, const char *text)
{
	/* A reader that went away is the monitor's end: PDEATHSIG follows. */
	if (write(fd, text, strlen(text)) < 0)
		return;
}

/* The value of path= in "local,id=share,...,path=X", also of mem-path=: commas are doubled in it. */
static void path_of(const char *option, char *to, size_t cap)
{
	const char *p = strstr(option, "path=");
	size_t n = 0;

	for (p = p ? p + 5 : ""; *p && n + 1 < cap; p++) {
		if (*p == ',' && *++p != ',')
			break;
		to[n++] = *p;
	}
	to[n] = '\0';
}

static void parse_memory(const char *option, struct args *a)
{
	const char *size = strstr(option, "size=");

	path_of(option, a->memory, sizeof a->memory);
	a->memory_mib = size ? strtoull(size + 5, NULL, 10) : 0;
	a->maker = strstr(option, "share=on") != NULL;
}

static void parse(int argc, char **argv, struct args *a)
{
	for (int i = 1; i < argc; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "-fsdev"))
			path_of(next, a->share, sizeof a->share);
		else if (!strcmp(argv[i], "-object") && strstr(next, "memory-backend-file"))
			parse_memory(next, a);
		else if (!strcmp(argv[i], "-incoming"))
			a->clone = true;
		else if (!strcmp(argv[i], "--fake-agent"))
			a->agent = next;
		else if (!strcmp(argv[i], "--fake-die-at"))
			a->die_at = next;
		else if (!strcmp(argv[i], "--fake-mute"))
			a->mute = true;
		else if (!strcmp(argv[i], "--fake-mute-clone"))
			a->mute_clone = true;
	}
	if (a->maker || (a->clone && a->mute_clone))
		a->mute = true;
}

/* As QEMU does: there, and as large as the machine's memory. The name that stands for a descriptor is known
 * to the preloaded object (src/hyper/qemu_fix.c), which a static program does without. */
static int make_memory(const struct args *a)
{
	int fd = strcmp(a->memory, MEMORY_NAME) ? open(a->memory, O_RDWR | O_CREAT | O_CLOEXEC, 0600)
						: fcntl(FD_MEMORY, F_DUPFD_CLOEXEC, 0);

	if (fd < 0 || ftruncate(fd, (off_t)(a->memory_mib << 20)) < 0) {
		perror(a->memory);
		return -1;
	}
	close(fd);
	return 0;
}

/* The monitor exports the share noexec, nodev, nosuid: that binds the host's kernel, not a guest's. */
static void free_share(const char *share)
{
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID };

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    syscall(SYS_mount_setattr, AT_FDCWD, share, AT_RECURSIVE, &attr, sizeof attr) < 0)
		say(2, "fake-qemu: cannot change the share's mount flags\n");
}

static int run_agent(void *arg)
{
	struct args *a = arg;
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	dup2(FD_CONSOLE, 1);
	dup2(FD_CONSOLE, 2);
	close(FD_CONSOLE);
	close(FD_QMP);
	if (a->mute)
		for (;;)
			pause();
	free_share(a->share);
	execl(a->agent, a->agent, "--test-fd", "3", "--share", a->share, (char *)NULL);
	say(2, "fake-qemu: cannot run the agent\n");
	return 127;
}

static pid_t parent_of(pid_t pid)
{
	char path[64], line[512];
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	n = fread(line, 1, sizeof line - 1, f);
	fclose(f);
	line[n] = '\0';
	const char *p = strrchr(line, ')');
	return p && strlen(p) > 4 ? atoi(p + 4) : 0;
}

static bool descends(pid_t pid, pid_t from)
{
	for (int depth = 0; pid > 1 && depth < 64; depth++, pid = parent_of(pid))
		if (pid == from)
			return true;
	return false;
}

/* The whole "guest": the agent and everything below it. */
static void signal_guest(pid_t agent, int sig)
{
	DIR *d = opendir("/proc");

	for (struct dirent *e; d && (e = readdir(d));) {
		pid_t pid = atoi(e->d_name);

		if (pid > 1 && descends(pid, agent))
			kill(pid, sig);
	}
	if (d)
		closedir(d);
}

/* One QMP command: its name is searched for, its id is sent back. False: quit. */
static bool answer(char *line, pid_t agent)
{
	const char *id = strstr(line, "\"id\"");
	char reply[256];
	unsigned long long n = 0;

	if (strstr(line, "\"stop\""))
		signal_guest(agent, SIGSTOP);
	else if (strstr(line, "\"cont\""))
		signal_guest(agent, SIGCONT);
	if (id && (id = strchr(id, ':')))
		n = strtoull(id + 1, NULL, 10);
	snprintf(reply, sizeof reply, id ? "{\"return\": {}, \"id\": %llu}\r\n" : "{\"return\": {}}\r\n", n);
	say(FD_QMP, reply);
	if (strstr(line, "\"qmp_capabilities\""))
		say(FD_QMP,
		    "{\"event\": \"VSERPORT_CHANGE\", \"data\": {\"open\": true, \"id\": \"agent\"}}\r\n");
	if (strstr(line, "\"migrate\"") && state_fd >= 0) {
		say(state_fd, "fake state\n");
		say(FD_QMP, "{\"event\": \"MIGRATION\", \"data\": {\"status\": \"completed\"}}\r\n");
	}
	return !strstr(line, "\"quit\"");
}

/* read(), and keeps a descriptor that comes along. */
static ssize_t receive(int fd, char *to, size_t cap)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec v = { to, cap };
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control
	};
	ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&state_fd, CMSG_DATA(c), sizeof state_fd);
	return n;
}

/* Reads what is there; whole lines are commands. False when there is no more to serve. */
static bool serve_qmp(pid_t agent)
{
	static char buf[8192];
	static size_t used;
	ssize_t n = receive(FD_QMP, buf + used, sizeof buf - 1 - used);

	if (n <= 0)
		return n < 0 && errno == EINTR;
	used += (size_t)n;
	buf[used] = '\0';
	for (char *end; (end = strchr(buf, '\n'));) {
		*end = '\0';
		if (!answer(buf, agent))
			return false;
		used -= (size_t)(end + 1 - buf);
		memmove(buf, end + 1, used + 1);
	}
	return used < sizeof buf - 1;
}

/* The share is filled while a real QEMU starts; the agent's own mount namespace would not see it later. Its
 * last change makes it read-only, and every change of the mount table wakes the poll. */
static void await_share(const char *share)
{
	struct pollfd p = { .fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC), .events = POLLPRI };
	struct statvfs st;
	char drop[4096];

	while (read(p.fd, drop, sizeof drop) > 0)
		;
	while (statvfs(share, &st) == 0 && !(st.f_flag & ST_RDONLY))
		if (poll(&p, 1, -1) < 0 && errno != EINTR)
			return;
}

static pid_t start_agent(struct args *a)
{
	static char stack[64 << 10] __attribute__((aligned(16)));
	int flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | SIGCHLD;

	return clone(run_agent, stack + sizeof stack, flags, a);
}

int main(int argc, char **argv)
{
	struct args a = { 0 };
	int status, code = 0;
	pid_t agent;

	parse(argc, argv, &a);
	if (!a.agent || !a.share[0]) {
		fprintf(stderr, "fake-qemu: --fake-agent or -fsdev is missing\n");
		return 1;
	}
	if (a.maker && make_memory(&a) < 0)
		return 1;
	say(FD_CONSOLE, "[    0.000000] fake guest\r\n");
	if (a.die_at && !strcmp(a.die_at, "boot")) {
		say(FD_CONSOLE, "[    0.000001] Kernel panic - not syncing: fake\r\n");
		fprintf(stderr, "fake-qemu: told to die\n");
		return 3;
	}
	say(FD_QMP, "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, "
		    "\"package\": \"\"}, "
		    "\"capabilities\": []}}\r\n");
	if (!a.mute)
		await_share(a.share);
	agent = start_agent(&a);
	if (agent < 0) {
		perror("fake-qemu: clone");
		return 1;
	}
	close(FD_AGENT);
	int pidfd = (int)syscall(SYS_pidfd_open, agent, 0);
	struct pollfd p[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = FD_QMP, .events = POLLIN } };

	while (poll(p, 2, -1) >= 0 || errno == EINTR) {
		if (p[0].revents)
			break;
		if (p[1].revents && !serve_qmp(agent))
			p[1].fd = -1;
	}
	if (p[1].fd < 0 && !p[0].revents)
		kill(agent, SIGKILL);
	if (waitpid(agent, &status, 0) == agent && WIFEXITED(status))
		code = WEXITSTATUS(status);
	return code;
}
