/* count-init.c - the guest of ./bench count: PID 1 that says "user space" and ends the machine.
 *
 * Built statically (builds.py). The word is a hypercall, which KVM traces and refuses: it needs no device
 * and costs every hypervisor the same. Only on AMD, as the counting host is. */
#include <sys/reboot.h>
#include <unistd.h>

#define MARK 0x636f72 /* count.py looks for it */

int main(void)
{
	long answer;

	__asm__ volatile("vmmcall" : "=a"(answer) : "a"(MARK), "b"(0), "c"(0), "d"(0), "S"(0) : "memory");
	(void)answer;        /* "not from user space" */
	reboot(RB_AUTOBOOT); /* with reboot=t: a triple fault, which needs no device either */
	return 1;
}
