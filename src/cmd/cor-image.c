/* cor-image - makes the kernel and initramfs that a container's VM boots from. Run by hand or by an
 * installer, never by a container. Only main() is here; src/image/image.h says where the rest is. */
#include "image/image.h"

int main(int argc, char **argv)
{
	const struct image_env env = { .osdir = COR_OSDIR,
				       .libexecdir = COR_LIBEXECDIR,
				       .datadir = COR_DATADIR };

	return image_cli(argc, argv, &env);
}
