/* jailed.c - run inside a jail by tests/cli/test_jail.py: says what it sees, or tries one thing that must
 * kill it. `jailed see` prints lines of key=value; `jailed TRY` exits with 0 if the thing was done and with 1
 * if it was refused: a jail that works does neither. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096

static long try_open(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY);
}

static long try_socket(void)
{
	return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}

static long try_execve(void)
{
	char *const argv[] = { NULL };

	return syscall(SYS_execve, "/proc/self/exe", argv, argv);
}

static long try_execveat_path(void)
{
	char *const argv[] = { NULL };

	return syscall(SYS_execveat, AT_FDCWD, "/proc/self/exe", argv, argv, 0);
}

static long try_ptrace(void)
{
	return syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
}

static long try_fork(void)
{
	return syscall(SYS_clone, 17, 0, 0, 0, 0);
}

static long try_mmap_exec(void)
{
	return syscall(SYS_mmap, NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0) == -1
		       ? -1
		       : 0;
}

static long try_mprotect_exec(void)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return syscall(SYS_mprotect, p, PAGE, PROT_READ | PROT_EXEC);
}

static long try_mount(void)
{
	return syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL);
}

static long try_setuid(void)
{
	return syscall(SYS_setuid, 0);
}

static long try_i386(void)
{
	long r;

	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory"); /* getpid of the other architecture */
	return r;
}

static const struct {
	const char *name;
	long (*fn)(void);
} tries[] = {
	{ "open", try_open },           { "socket", try_socket },
	{ "execve", try_execve },       { "execveat-path", try_execveat_path },
	{ "ptrace", try_ptrace },       { "fork", try_fork },
	{ "mmap-exec", try_mmap_exec }, { "mprotect-exec", try_mprotect_exec },
	{ "mount", try_mount },         { "setuid", try_setuid },
	{ "i386", try_i386 },
};

static void *thread(void *arg)
{
	return arg;
}

/* Only calls that the filter allows: where one is missing, this is killed, too. */
static int see(void)
{
	pthread_t t;
	void *back = NULL;
	char line[512];
	int n, open_fds = 0;

	if (syscall(SYS_fcntl, 0, F_GETFD) == -1)
		return 1;
	for (int fd = 0; fd < 1024; fd++)
		open_fds += fcntl(fd, F_GETFD) >= 0;
	if (pthread_create(&t, NULL, thread, line) != 0 || pthread_join(t, &back) != 0 || back != line)
		return 1;
	n = snprintf(line, sizeof line, "pid=%d\nfds=%d\nthread=yes\n", (int)getpid(), open_fds);
	return write(1, line, (size_t)n) == n ? 0 : 1;
}

/* Says it is there, then waits for the end of its stdin. Its outside is looked at through /proc meanwhile. */
static int stay(void)
{
	char c;

	if (write(1, "up\n", 3) != 3)
		return 1;
	while (read(0, &c, 1) > 0)
		;
	return 7;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "see") == 0)
		return see();
	if (strcmp(what, "stay") == 0)
		return stay();
	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
		if (strcmp(what, tries[i].name) == 0)
			return tries[i].fn() < 0;
	return 99;
}
