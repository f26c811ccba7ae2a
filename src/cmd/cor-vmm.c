/* cor-vmm.c - the virtual machine monitor: see vmm/cli.h. */
#include "vmm/cli.h"

int main(int argc, char **argv)
{
	return vmm_main(argc, argv);
}
