/* os.c - see os.h: the way of one build. Called by cli.c. Inputs are a distribution's kernel and our
 * agent; both are checked for their form, so that a wrong file is an error here and not a VM that
 * does not start. */
#include "image/os.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/io.h"
#include "image/bzimage.h"
#include "image/child.h"
#include "image/elf.h"
#include "image/outdir.h"

#define AGENT_MAX   (64u << 20)
#define VMLINUZ_MAX (1u << 30)

static const char *const out_names[] = { OS_VMLINUX, OS_INITRD, MANIFEST_NAME, NULL };

/* Bytes that a build starts from. */
struct inputs {
	struct kernel kernel;
	struct modset modules;
	struct bundles bundles;
	char *agent, *vmlinuz; /* owned */
	size_t agent_len, vmlinuz_len;
	bool dax;
};

static void inputs_fini(struct inputs *in)
{
	kernel_fini(&in->kernel);
	modset_fini(&in->modules);
	bundles_fini(&in->bundles);
	free(in->agent);
	free(in->vmlinuz);
}
#define scoped_inputs __attribute__((cleanup(inputs_fini))) struct inputs

static int read_kernel(const struct os_opts *o, struct ui *ui, struct inputs *in, struct err *e)
{
	const struct module_want *wants = bundles_wants(&in->bundles);
	struct kernel_opts kernel = o->kernel;
	scoped_fd dir = -1;
	int r;

	kernel.wants = wants;
	r = kernel_find(&kernel, ui, &in->kernel, e);
	if (r < 0)
		return r;
	r = io_read_file_at(AT_FDCWD, in->kernel.vmlinuz, VMLINUZ_MAX, &in->vmlinuz, &in->vmlinuz_len);
	if (r < 0)
		return err_set(e, r, "%s: %m", in->kernel.vmlinuz);
	dir = open(in->kernel.modules, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set(e, -errno, "%s: %m", in->kernel.modules);
	r = modset_load(&in->modules, dir, in->kernel.release, wants, e);
	return r < 0 ? err_wrap(e, "%s", in->kernel.modules) : 0;
}

static int read_inputs(const struct os_opts *o, struct ui *ui, struct inputs *in, struct err *e)
{
	int r;

	r = io_read_file_at(AT_FDCWD, o->agent, AGENT_MAX, &in->agent, &in->agent_len);
	if (r < 0)
		return err_set(e, r, "agent %s: %m", o->agent);
	r = elf_take_program(in->agent, &in->agent_len, e);
	if (r < 0)
		return err_wrap(e, "agent %s", o->agent);
	for (size_t i = 0; o->bundles && i < o->bundles->n; i++) {
		r = bundles_add(&in->bundles, o->bundles->p[i], e);
		if (r < 0)
			return r;
	}
	return read_kernel(o, ui, in, e);
}

/* All of the manifest that is known before anything is written. */
static int describe(const struct inputs *in, struct manifest *m, struct err *e)
{
	scoped_str all = { 0 };
	int r;

	m->release = strdup(in->kernel.release);
	m->origin = strdup(in->kernel.origin);
	if (!m->release || !m->origin)
		return err_set(e, -ENOMEM, "%m");
	sha256_hex(in->vmlinuz, in->vmlinuz_len, m->vmlinuz);
	sha256_hex(in->agent, in->agent_len, m->agent.sha256);
	m->agent.size = in->agent_len;
	for (size_t i = 0; i < in->modules.n; i++) {
		const struct module *k = &in->modules.p[i];

		strv_addf(&m->modules, "%s %s %s", k->name, k->boot ? "boot" : "demand", k->digest);
	}
	r = strv_check(&m->modules);
	for (size_t i = 0; i < in->bundles.ids.n; i++)
		strv_add(&m->bundles, in->bundles.ids.p[i]);
	if (r == 0)
		r = strv_check(&m->bundles);
	str_addf(&all, "%s\n%s\n%s\n", COR_VERSION, m->vmlinuz, m->agent.sha256);
	for (size_t i = 0; i < m->modules.n; i++)
		str_addf(&all, "%s\n", m->modules.p[i]);
	for (size_t i = 0; i < m->bundles.n; i++)
		str_addf(&all, "bundle %s\n", m->bundles.p[i]);
	if (in->dax)
		str_add(&all, "root dax\n");
	if (r == 0)
		r = str_check(&all);
	if (r < 0)
		return err_set(e, r, "%m");
	sha256_hex(all.p, all.len, m->inputs);
	return 0;
}

static bool has_size(const char *dir, const char *name, uint64_t size)
{
	scoped_free char *path = str_fmt("%s/%s", dir, name);
	struct stat st;

	return path && stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size;
}

/* Unpacks the kernel into fd (a memfd). */
static int extract(const struct inputs *in, int fd, struct err *e)
{
	struct bzimage b;
	scoped_fd payload = -1;
	struct child c = { .out_fd = fd };
	int r;

	if (elf_is(in->vmlinuz, in->vmlinuz_len)) {
		r = io_write_full(fd, in->vmlinuz, in->vmlinuz_len);
		return r < 0 ? err_set(e, r, "%m") : 0;
	}
	r = bzimage_parse(in->vmlinuz, in->vmlinuz_len, &b, e);
	if (r < 0)
		return r;
	r = io_memfd("payload", b.payload, b.len);
	if (r < 0)
		return err_set(e, r, "%m");
	payload = r;
	c.argv = b.packer->argv;
	c.in_fd = payload;
	c.max_out = b.unpacked;
	return child_run(&c, e);
}

static int check_vmlinux(int fd, struct manifest_file *ret, struct err *e)
{
	struct stat st;
	void *p;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "%m");
	if (st.st_size <= 0)
		return err_set(e, -ENOEXEC, "is empty");
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, -errno, "%m");
	r = elf_check_kernel(p, (size_t)st.st_size, e);
	if (r == 0)
		sha256_hex(p, (size_t)st.st_size, ret->sha256);
	ret->size = (uint64_t)st.st_size;
	return munmap(p, (size_t)st.st_size) < 0 ? err_set(e, -errno, "%m") : r;
}

/* The old build's kernel, if it was made from the same file: a hard link instead of a second's work. */
static bool reuse_vmlinux(const struct outdir *out, const struct manifest *old, struct manifest *m)
{
	scoped_free char *path = str_fmt("%s/" OS_VMLINUX, out->path);

	if (!path || !str_eq(old->vmlinuz, m->vmlinuz) ||
	    !has_size(out->path, OS_VMLINUX, old->vmlinux.size) ||
	    linkat(AT_FDCWD, path, out->fd, OS_VMLINUX, 0) < 0)
		return false;
	m->vmlinux = old->vmlinux;
	return true;
}

static int write_file(const struct outdir *out, const char *name, const void *p, size_t n, struct err *e)
{
	scoped_fd fd = openat(out->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int r = fd < 0 ? -errno : io_write_full(fd, p, n);

	return r < 0 ? err_set(e, r, "%s/%s: %m", out->staging, name) : 0;
}

/* Checks and trims the unpacked kernel in a private mapping of it and writes the result. */
static int write_trimmed(const struct outdir *out, int from, struct manifest_file *ret, struct err *e)
{
	struct stat st;
	size_t len, map_len;
	void *p;
	int r;

	if (fstat(from, &st) < 0)
		return err_set(e, -errno, "%m");
	if (st.st_size <= 0)
		return err_set(e, -ENOEXEC, "is empty");
	len = map_len = (size_t)st.st_size;
	p = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE, from, 0);
	if (p == MAP_FAILED)
		return err_set(e, -errno, "%m");
	r = elf_trim_kernel(p, &len, e);
	if (r == 0) {
		ret->size = len;
		sha256_hex(p, len, ret->sha256);
		r = write_file(out, OS_VMLINUX, p, len, e);
	}
	return munmap(p, map_len) < 0 ? err_set(e, -errno, "%m") : r;
}

static int write_vmlinux(const struct outdir *out, const struct inputs *in, struct ui *ui, struct manifest *m,
			 struct err *e)
{
	scoped_fd fd = memfd_create("vmlinux", MFD_CLOEXEC);
	int r;

	ui_step(ui, "kernel", "%s", m->release);
	if (fd < 0)
		return err_set(e, -errno, "memory for the kernel: %m");
	r = extract(in, fd, e);
	if (r == 0)
		r = write_trimmed(out, fd, &m->vmlinux, e);
	if (r < 0)
		return err_wrap(e, "kernel in %s", in->kernel.vmlinuz);
	ui_done(ui);
	return 0;
}

static struct os_parts parts(const struct inputs *in)
{
	return (struct os_parts){ .modules = &in->modules,
				  .agent = in->agent,
				  .agent_len = in->agent_len,
				  .bundles = &in->bundles };
}

static int write_initrd(const struct outdir *out, const struct inputs *in, struct manifest *m, struct err *e)
{
	const struct os_parts p = parts(in);
	scoped_str initrd = { 0 };
	int r = os_initrd(&p, &initrd, e);

	if (r < 0)
		return r;
	m->initrd.size = initrd.len;
	sha256_hex(initrd.p, initrd.len, m->initrd.sha256);
	return write_file(out, OS_INITRD, initrd.p, initrd.len, e);
}

static int write_root(const struct outdir *out, const struct inputs *in, struct manifest *m, struct err *e)
{
	const struct os_parts p = parts(in);
	scoped_free char *file = str_fmt("%s/" OS_INITRD, out->staging);
	scoped_fd fd = -1;
	struct stat st;
	int r;

	r = file ? os_root(&p, m->inputs, file, e) : err_set(e, -ENOMEM, "%m");
	if (r < 0)
		return r;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	r = fd < 0 || fstat(fd, &st) < 0 ? -errno : sha256_fd_hex(fd, m->initrd.sha256);
	if (r < 0)
		return err_set(e, r, "%s: %m", file);
	m->initrd.size = (uint64_t)st.st_size;
	return 0;
}

static int write_all(const struct outdir *out, const struct inputs *in, const struct manifest *old,
		     struct ui *ui, struct manifest *m, struct err *e)
{
	scoped_str text = { 0 };
	int r = 0;

	if (!old || !reuse_vmlinux(out, old, m))
		r = write_vmlinux(out, in, ui, m, e);
	if (r < 0)
		return r;
	ui_step(ui, "initrd", "agent (%zu KB) and %zu modules", in->agent_len / 1024, in->modules.n);
	r = in->dax ? write_root(out, in, m, e) : write_initrd(out, in, m, e);
	if (r == 0)
		r = manifest_format(m, &text, e);
	if (r == 0)
		r = write_file(out, MANIFEST_NAME, text.p, text.len, e);
	ui_done(ui);
	return r;
}

int os_build(const struct os_opts *o, struct ui *ui, struct manifest *ret, bool *ret_changed, struct err *e)
{
	scoped_inputs in = { 0 };
	scoped_manifest m = { 0 }, old = { 0 };
	scoped_outdir out = { .fd = -1 };
	bool have_old;
	int r;

	in.dax = o->dax;
	r = read_inputs(o, ui, &in, e);
	if (r == 0 && in.dax && in.modules.n)
		r = err_set(e, -ENOTSUP,
			    "kernel %s needs modules before it can mount a root from a device: only one with "
			    "everything built in can (cor-image kernel)",
			    in.kernel.release);
	if (r == 0)
		r = describe(&in, &m, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < in.modules.missing.n; i++)
		ui_note(ui, "this kernel has no module %s", in.modules.missing.p[i]);
	have_old = manifest_read(o->out, &old, NULL) == 0;
	*ret_changed = o->force || !have_old || !str_eq(old.inputs, m.inputs) ||
		       !has_size(o->out, OS_VMLINUX, old.vmlinux.size) ||
		       !has_size(o->out, OS_INITRD, old.initrd.size);
	if (!*ret_changed) {
		*ret = old;
		old = (struct manifest){ 0 };
		return 0;
	}
	r = outdir_open(&out, o->out, out_names, e);
	if (r == 0)
		r = write_all(&out, &in, have_old && !o->force ? &old : NULL, ui, &m, e);
	if (r == 0)
		r = outdir_commit(&out, e);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct manifest){ 0 };
	return 0;
}

static int verify_file(const char *dir, const char *name, const struct manifest_file *want, bool kernel,
		       struct err *e)
{
	scoped_free char *path = str_fmt("%s/%s", dir, name);
	scoped_fd fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct manifest_file got = { 0 };
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -errno, "%s: %m", path ? path : name);
	got.size = (uint64_t)st.st_size;
	r = kernel ? check_vmlinux(fd, &got, e) : sha256_fd_hex(fd, got.sha256);
	if (r < 0)
		return kernel ? err_wrap(e, "%s", path) : err_set(e, r, "%s: %m", path);
	if (got.size != want->size || !str_eq(got.sha256, want->sha256))
		return err_set(e, -EBADMSG, "%s is not what the manifest says: run 'cor-image os --force'",
			       path);
	return 0;
}

int os_verify(const char *dir, struct manifest *ret, struct err *e)
{
	scoped_manifest m = { 0 };
	int r;

	r = manifest_read(dir, &m, e);
	if (r == 0)
		r = verify_file(dir, OS_VMLINUX, &m.vmlinux, true, e);
	if (r == 0)
		r = verify_file(dir, OS_INITRD, &m.initrd, false, e);
	if (r < 0)
		return r;
	*ret = m;
	m = (struct manifest){ 0 };
	return 0;
}
