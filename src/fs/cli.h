/* cli.h - cor-fsd: serves its root directory to one virtual machine.
 *
 * Started through cor-jail (policy fsd) by the driver that also starts the VMM, with two descriptors beside
 * stdio: the socket to the VMM, and /proc/self/fd. */
#ifndef FS_CLI_H
#define FS_CLI_H

/* The whole program; returns the exit code: 0 when the VMM has gone. */
int fsd_main(int argc, char **argv);

#endif
