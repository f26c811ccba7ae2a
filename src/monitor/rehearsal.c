/* rehearsal.c - see rehearsal.h. What is not in it runs cold in the container. Never: blocks. */
#include "monitor/rehearsal.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/rseq.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/scope.h"

#define MAP_SIZE 65536u
#define PAGE     4096u
#define STEP     (4 * PAGE)

/* Files, a directory, memory: as the first things of a program. */
static int use_files(void)
{
	static const char *const paths[] = { "/etc/ld.so.cache", "/bin/sh", "/proc/self/stat",
					     REHEARSAL_PROGRAM };
	scoped_dir d = opendir("/");
	char buf[4096];
	struct stat st;
	void *p;

	while (d && readdir(d))
		;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		scoped_fd fd = open(paths[i], O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			continue; /* looked for in vain: also that is to be known */
		if (fstat(fd, &st) < 0 || read(fd, buf, sizeof buf) < 0)
			return 1;
		p = mmap(NULL, MAP_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p != MAP_FAILED)
			(void)munmap(p, MAP_SIZE);
	}
	return 0;
}

/* Pages of a file that come by page faults: translated code is another there than in read(). */
static int use_pages(void)
{
	scoped_fd fd = open(REHEARSAL_DATA, O_RDONLY | O_CLOEXEC);
	unsigned sum = 0;
	volatile char *p;

	p = fd < 0 ? MAP_FAILED : mmap(NULL, REHEARSAL_DATA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return 1;
	for (size_t at = 0; at < REHEARSAL_DATA_SIZE; at += STEP) {
		sum += (unsigned)p[at];
		p[at] = 1;        /* read before: copied */
		p[at + PAGE] = 1; /* not read: taken from the file and copied */
	}
	(void)munmap((void *)(uintptr_t)p, REHEARSAL_DATA_SIZE);
	return sum != 0;
}

/* What a C library asks for before main(), and gives up at the end. Nothing depends on what it gets. */
static void use_start(void)
{
	/* Empty; looked at when the process ends. */
	static const struct robust_list_head robust = { .list = { (void *)(uintptr_t)&robust.list } };
	struct rseq area = { 0 };
	uintptr_t end = (uintptr_t)syscall(SYS_brk, 0);
	char text[256], *p;

	(void)syscall(SYS_set_robust_list, &robust, sizeof robust);
	(void)syscall(SYS_rseq, &area, sizeof area, 0, 0);
	(void)syscall(SYS_rseq, &area, sizeof area, RSEQ_FLAG_UNREGISTER, 0);
	(void)syscall(SYS_prlimit64, 0, 0, NULL, text);
	(void)!readlink("/proc/self/exe", text, sizeof text);
	(void)!getrandom(text, 8, GRND_NONBLOCK);
	if ((uintptr_t)syscall(SYS_brk, end + STEP) == end + STEP)
		*(volatile char *)end = 1;
	p = mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED && mprotect(p, PAGE, PROT_READ) == 0)
		*(volatile char *)(p + PAGE) = 1;
	(void)prctl(PR_GET_NAME, text);
	(void)getuid();
}

/* A child that runs the program once more, briefly. */
static int use_child(void)
{
	char program[] = REHEARSAL_PROGRAM, word[] = REHEARSAL_WORD, child[] = "child";
	char *const again[] = { program, word, child, NULL };
	int status = 1, p[2];
	char byte;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		(void)execve(REHEARSAL_PROGRAM, again, NULL);
		_exit(1);
	}
	(void)close(p[1]);
	while (read(p[0], &byte, 1) > 0) /* until the exec */
		;
	(void)close(p[0]);
	return pid < 0 || waitpid(pid, &status, 0) != pid || status != 0;
}

int rehearsal_main(int argc)
{
	static const char line[] = "rehearsal\n";
	const struct timespec moment = { .tv_nsec = 1000 };
	struct timespec now;
	sigset_t set;

	(void)signal(SIGTERM, SIG_IGN);
	(void)sigprocmask(SIG_BLOCK, NULL, &set);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)nanosleep(&moment, NULL);
	if (write(STDOUT_FILENO, line, sizeof line - 1) < 0 ||
	    write(STDERR_FILENO, line, sizeof line - 1) < 0)
		return 1;
	use_start();
	if (argc > 2)
		return 0;
	return use_files() || use_pages() || use_child();
}
