/* image.h - the builder of what a VM boots from: an uncompressed ELF kernel and an initramfs whose
 * /init is the agent. First file to read of this folder; the only one that cmd/ includes.
 *
 *   cli.c       options, what is printed
 *   os.c        the way of one build: find kernel, choose modules, compare, write, swap in
 *   kernel.c    where a kernel comes from: installed, package, given files; apt.c asks apt
 *   kbuild.c    builds a kernel from source; kconfig.c its configuration; fetch.c packages of apt
 *   modules.c   which modules, in which order
 *   bzimage.c   the ELF kernel inside a bzImage; elf.c checks of kernel and modules
 *   bundle.c    what a user adds
 *   cpio.c      the initramfs; manifest.c the text beside it; child.c runs xz, apt-get ...
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

/* Paths that were decided when Cor was configured. */
struct image_env {
	const char *osdir;      /* where the mini-OS goes unless --out says otherwise */
	const char *libexecdir; /* where an installed agent is */
	const char *datadir;    /* where the kernel's fragments are */
};

/* Whole program: runs the command of argv, prints, returns the exit code (0, 1 = usage, 2 = failed). */
int image_cli(int argc, char **argv, const struct image_env *env);

#endif
