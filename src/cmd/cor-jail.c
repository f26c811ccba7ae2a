/* cor-jail.c - starts what faces the guest, with nothing but what it is handed; see jail/jail.h. */
#include "jail/jail.h"

int main(int argc, char **argv)
{
	return jail_main(argc, argv);
}
