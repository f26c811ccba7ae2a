/* signame.c - the table of signal names.
 *
 * Called by runtime/cli.c. Real-time signals count from the kernel's numbers 34 and 64 (what glibc
 * leaves to programs), so that the same text means the same number whatever libc reads it. */
#include "cfg/signame.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

#include "base/num.h"

#define SIG_LAST   64
#define RTMIN_SEEN 34

static const struct {
	const char *name;
	int number;
} names[] = {
	{ "HUP", SIGHUP },       { "INT", SIGINT },     { "QUIT", SIGQUIT },     { "ILL", SIGILL },
	{ "TRAP", SIGTRAP },     { "ABRT", SIGABRT },   { "IOT", SIGABRT },      { "BUS", SIGBUS },
	{ "FPE", SIGFPE },       { "KILL", SIGKILL },   { "USR1", SIGUSR1 },     { "SEGV", SIGSEGV },
	{ "USR2", SIGUSR2 },     { "PIPE", SIGPIPE },   { "ALRM", SIGALRM },     { "TERM", SIGTERM },
	{ "STKFLT", SIGSTKFLT }, { "CHLD", SIGCHLD },   { "CLD", SIGCHLD },      { "CONT", SIGCONT },
	{ "STOP", SIGSTOP },     { "TSTP", SIGTSTP },   { "TTIN", SIGTTIN },     { "TTOU", SIGTTOU },
	{ "URG", SIGURG },       { "XCPU", SIGXCPU },   { "XFSZ", SIGXFSZ },     { "VTALRM", SIGVTALRM },
	{ "PROF", SIGPROF },     { "WINCH", SIGWINCH }, { "IO", SIGIO },         { "POLL", SIGIO },
	{ "PWR", SIGPWR },       { "SYS", SIGSYS },     { "RTMIN", RTMIN_SEEN }, { "RTMAX", SIG_LAST },
};

/* "RTMIN+3", "RTMAX-1" */
static int parse_realtime(const char *s, int *ret)
{
	bool up = strncasecmp(s, "RTMIN+", 6) == 0;
	uint64_t n = 0;

	if (!up && strncasecmp(s, "RTMAX-", 6) != 0)
		return -EINVAL;
	if (num_parse_u64_max(s + 6, SIG_LAST - RTMIN_SEEN, &n) < 0)
		return -EINVAL;
	*ret = up ? RTMIN_SEEN + (int)n : SIG_LAST - (int)n;
	return 0;
}

int signame_parse(const char *s, int *ret)
{
	uint64_t n = 0;

	if (num_parse_u64_max(s, SIG_LAST, &n) == 0) {
		*ret = (int)n;
		return 0;
	}
	if (strncasecmp(s, "SIG", 3) == 0)
		s += 3;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (strcasecmp(names[i].name, s) == 0) {
			*ret = names[i].number;
			return 0;
		}
	}
	return parse_realtime(s, ret);
}
