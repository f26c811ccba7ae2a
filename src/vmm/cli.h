/* cli.h - cor-vmm's command line. */
#ifndef VMM_CLI_H
#define VMM_CLI_H

/* The program: returns its exit code. 0: the guest powered off or was reset, or a signal asked for the end;
 * 1: the command line is wrong; 2: the machine could not be made, or crashed. */
int vmm_main(int argc, char **argv);

/* `cor-vmm ctl SOCKET VERB...` (client.c), the arguments behind "ctl": 0, 1 as above, 2: the machine refused.
 */
int vmctl_main(int argc, char **argv);

#endif
