/* process.h - turning the calling process into the container's program: user, rights, limits,
 * directory, exec. Called by child.c, for the container's process and for exec sessions alike. */
#ifndef AGENT_PROCESS_H
#define AGENT_PROCESS_H

#include "base/err.h"
#include "wire/msg.h"

struct process_image {
	char *path;  /* what is executed */
	int program; /* an fd on it: while it is open, the kernel needn't ask the host for the way; -1 */
	char **env;  /* with HOME */
};

/* Everything up to exec, in the order in which rights are needed and dropped. The image lives until exec. */
int must_check process_prepare(const struct msg_process *p, struct process_image *ret, struct err *e);
/* Executes what was found; if it is gone meanwhile, execve says so. Returns only on failure. */
int process_exec(const struct msg_process *p, struct process_image *image, struct err *e);

/* Finds args[0] as execvp does, with the PATH of env. *ret_path: free(); *ret_fd: open on it (O_PATH). The
 * error's text is the one that callers of OCI runtimes look for. */
int must_check process_lookup(const struct msg_process *p, char **ret_path, int *ret_fd, struct err *e);

#endif
