/* kvmprobe.c - kvm_probe() as a program: is /dev/kvm usable here?
 *
 * Built statically by builds.py; kvmhost.py calls it to choose between this machine and an emulated
 * one, and runs it in the emulated one, too. Exit code 0: usable; 1: not, and stdout says why. */
#include <stdio.h>

#include "hyper/hyper.h"

#define PROBE_MS 10000 /* emulated, a probe takes a hundred times longer than it should */

int main(void)
{
	struct err e = { 0 };
	int r = kvm_probe("/dev/kvm", PROBE_MS, &e);

	printf("%s\n", r < 0 ? e.msg : "usable");
	return r < 0;
}
