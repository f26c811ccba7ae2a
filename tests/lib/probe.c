/* probe.c - asks the kernel, from inside a container, what busybox cannot tell. Linked statically
 * and copied into test bundles as /bin/probe; tests read its stdout. Trusts its arguments. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static int answer(long r)
{
	if (r < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("ok\n");
	return 0;
}

/* The open fds of this process, without the one that lists them. */
static int do_fds(char **a)
{
	(void)a;
	DIR *d = opendir("/proc/self/fd");
	if (!d)
		return answer(-1);
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
			printf("%s ", e->d_name);
	printf("\n");
	closedir(d);
	return 0;
}

static int do_call(char **a)
{
	if (!strcmp(a[0], "mkdir"))
		return answer(syscall(SYS_mkdir, a[1], 0700));
	if (!strcmp(a[0], "getcwd")) {
		char buf[4096];
		return answer(syscall(SYS_getcwd, buf, sizeof buf));
	}
	if (!strcmp(a[0], "chroot"))
		return answer(syscall(SYS_chroot, a[1]));
	if (!strcmp(a[0], "unshare"))
		return answer(unshare(CLONE_NEWUTS));
	if (!strcmp(a[0], "mknod"))
		return answer(mknod(a[1], S_IFCHR | 0600, (1u << 8) | 3u));
	if (!strcmp(a[0], "mount"))
		return answer(mount("none", a[1], "tmpfs", 0, ""));
	if (!strcmp(a[0], "personality"))
		return answer(personality(0xffffffff));
	if (!strcmp(a[0], "socket")) {
		struct sockaddr_un sa = { .sun_family = AF_UNIX };
		strncpy(sa.sun_path, a[1], sizeof sa.sun_path - 1);
		return answer(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&sa, sizeof sa));
	}
	errno = ENOSYS;
	return answer(-1);
}

static int do_sched(char **a)
{
	(void)a;
	printf("policy %d nice %d ioprio %ld oom ", sched_getscheduler(0), getpriority(PRIO_PROCESS, 0),
	       syscall(SYS_ioprio_get, 1, 0));
	fflush(stdout);
	FILE *f = fopen("/proc/self/oom_score_adj", "r");
	int v = 0;
	if (f && fscanf(f, "%d", &v) == 1)
		printf("%d", v);
	printf(" nnp %d personality %#x\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
	       (unsigned)personality(0xffffffff));
	if (f)
		fclose(f);
	return 0;
}

static int do_rlimit(char **a)
{
	struct rlimit r;
	(void)a;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return answer(-1);
	printf("nofile %llu %llu\n", (unsigned long long)r.rlim_cur, (unsigned long long)r.rlim_max);
	if (getrlimit(RLIMIT_CORE, &r) < 0)
		return answer(-1);
	printf("core %llu %llu\n", (unsigned long long)r.rlim_cur, (unsigned long long)r.rlim_max);
	return 0;
}

/* Dies by its own signal: kill -N $$ of a shell that is PID 1 would be ignored. */
static int do_die(char **a)
{
	int sig = atoi(a[0]);
	pid_t pid = fork();
	if (pid == 0) {
		signal(sig, SIG_DFL);
		raise(sig);
		_exit(99);
	}
	int st;
	waitpid(pid, &st, 0);
	printf("%d\n", WIFSIGNALED(st) ? WTERMSIG(st) : -1);
	return 0;
}

static int do_exit(char **a)
{
	return atoi(a[0]);
}

static int do_winsize(char **a)
{
	struct winsize w;
	(void)a;
	if (ioctl(0, TIOCGWINSZ, &w) < 0)
		return answer(-1);
	printf("%u %u\n", w.ws_row, w.ws_col);
	return 0;
}

static int do_setxattr(char **a)
{
	return answer(setxattr(a[0], a[1], a[2], strlen(a[2]), 0));
}

static int do_getxattr(char **a)
{
	char buf[256];
	ssize_t n = getxattr(a[0], a[1], buf, sizeof buf);
	if (n < 0)
		return answer(-1);
	printf("%.*s\n", (int)n, buf);
	return 0;
}

/* Prints every signal of a list as it comes: "got 10". "ready" when the handlers stand. Ends on TERM. */
static int do_signals(char **a)
{
	sigset_t set;
	sigemptyset(&set);
	for (int i = 0; a[i]; i++)
		sigaddset(&set, atoi(a[i]));
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	printf("ready\n");
	fflush(stdout);
	for (int sig;;) {
		if (sigwait(&set, &sig) != 0)
			return 1;
		printf("got %d\n", sig);
		fflush(stdout);
		if (sig == SIGTERM)
			return 7;
	}
}

/* Writes n MiB of a fixed pseudo-random sequence to stdout. */
static int do_stream(char **a)
{
	static uint8_t buf[1 << 20];
	uint64_t x = 88172645463325252ull;
	for (long n = atol(a[0]); n > 0; n--) {
		for (size_t i = 0; i < sizeof buf; i += 8) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			memcpy(buf + i, &x, 8);
		}
		for (size_t done = 0; done < sizeof buf;) {
			ssize_t w = write(1, buf + done, sizeof buf - done);
			if (w < 0)
				return 1;
			done += (size_t)w;
		}
	}
	return 0;
}

/* Random numbers of the processor's instruction: in a VM by software emulation they are the emulator's. */
static int do_rdrand(char **a)
{
	uint64_t v = 0;
	unsigned char ok = 0;

	(void)a;
	for (int i = 0; i < 1000 && !ok; i++)
		__asm__ volatile("rdrand %0; setc %1" : "=r"(v), "=qm"(ok) : : "cc");
	if (!ok)
		return 1;
	printf("%016llx\n", (unsigned long long)v);
	return 0;
}

/* getrandom()'s, and those that exec gave this process. */
static int do_random(char **a)
{
	unsigned char bytes[2][16];

	(void)a;
	if (syscall(SYS_getrandom, bytes[0], sizeof bytes[0], 0) != sizeof bytes[0])
		return 1;
	memcpy(bytes[1], (const void *)getauxval(AT_RANDOM), sizeof bytes[1]);
	for (size_t i = 0; i < sizeof bytes; i++)
		printf("%02x%s", ((const unsigned char *)bytes)[i], i % 16 == 15 ? "\n" : "");
	return 0;
}

/* Allocates and touches n MiB; "ok" if it lives. */
static int do_eat(char **a)
{
	for (long n = atol(a[0]); n > 0; n--) {
		char *p = malloc(1 << 20);
		if (!p)
			return answer(-1);
		memset(p, 0x55, 1 << 20);
	}
	return answer(0);
}

static const struct verb {
	const char *name;
	int args;
	int (*run)(char **a);
} verbs[] = {
	{ "fds", 0, do_fds },         { "call", 1, do_call },         { "sched", 0, do_sched },
	{ "rlimit", 0, do_rlimit },   { "die", 1, do_die },           { "exit", 1, do_exit },
	{ "winsize", 0, do_winsize }, { "setxattr", 3, do_setxattr }, { "getxattr", 2, do_getxattr },
	{ "signals", 0, do_signals }, { "stream", 1, do_stream },     { "eat", 1, do_eat },
	{ "rdrand", 0, do_rdrand },   { "random", 0, do_random },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof verbs / sizeof *verbs; i++)
		if (!strcmp(argv[1], verbs[i].name) && argc - 2 >= verbs[i].args)
			return verbs[i].run(argv + 2);
	fprintf(stderr, "usage: probe VERB [ARG...]\n");
	return 64;
}
