/* monitor.h - the life of one VM: the process that callers know as the container's pid.
 *
 * It is started by `cor create` with the fds of enum plan_fd, sets up the host's side, starts the
 * hypervisor, talks to the agent, serves the control socket, and ends with the exit code of the
 * container's process after its output has been delivered. It parses no text. */
#ifndef MONITOR_MONITOR_H
#define MONITOR_MONITOR_H

/* Runs to the end; returns the exit code of the process. Single-threaded. */
int monitor_main(void);

#endif
