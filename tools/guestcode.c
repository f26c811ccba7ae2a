/* guestcode.c - a QEMU plugin for tools/guestcode: writes down each block of guest code that is translated.
 *
 * Loaded by a QEMU that runs a trusted guest on a developer's machine. Its argument is the file to write.
 * Built without QEMU's headers, which Debian doesn't package: the four names are its stable interface. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*cb)(uint64_t id, struct qemu_plugin_tb *tb));
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv);

EXPORT extern int qemu_plugin_version;
int qemu_plugin_version = 1;

static int out = -1;

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	uint64_t addr = qemu_plugin_tb_vaddr(tb);

	(void)id;
	if (write(out, &addr, sizeof addr) < 0)
		_exit(1); /* a list with holes would lie */
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4) != 0)
		return -1;
	out = open(argv[0] + 4, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return out < 0 ? -1 : 0;
}
