/* cor-fsd.c - serves one directory to one virtual machine; see fs/cli.h. */
#include "fs/cli.h"

int main(int argc, char **argv)
{
	return fsd_main(argc, argv);
}
