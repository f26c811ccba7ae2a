/* unixfd.c - runs a command with a connected socket: what a shell can't.
 *
 *     unixfd SOCKET FD COMMAND...
 *
 * FD of the command is connected to the socket SOCKET (a path). Trusts its arguments. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	if (argc < 4 || strlen(argv[1]) >= sizeof a.sun_path)
		return 2;
	memcpy(a.sun_path, argv[1], strlen(argv[1]));
	if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof a) < 0 || dup2(s, atoi(argv[2])) < 0) {
		perror(argv[1]);
		return 1;
	}
	(void)execvp(argv[3], argv + 3);
	perror(argv[3]);
	return 127;
}
