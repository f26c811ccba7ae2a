/* shape.c - see shape.h. Called by template.c through the drivers. Trusts: the vmcfg's paths. */
#include "hyper/shape.h"

#include <errno.h>
#include <sys/stat.h>

/* A file that goes into the machine: whoever replaces or changes it gets another shape. */
static int add_file(const char *path, struct str *to, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(e, -errno, "%s: %m", path);
	str_addf(to, "file %s %llu:%llu %lld %lld.%09ld\n", path, (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino, (long long)st.st_size, (long long)st.st_mtim.tv_sec,
		 st.st_mtim.tv_nsec);
	return 0;
}

int hv_shape_files(const char *const *files, size_t n, struct str *to, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = files[i] ? add_file(files[i], to, e) : 0;
	return r;
}

const char *hv_shape_os(const struct vmcfg *cfg)
{
	return vmcfg_os_layers(cfg) ? cfg->layers.p[0].path : cfg->initrd;
}

void hv_shape_layers(const struct vmcfg *cfg, struct str *to)
{
	for (size_t i = 0; i < cfg->layers.n; i++)
		str_addf(to, "layer %llu\n", (unsigned long long)cfg->layers.p[i].size);
	if (cfg->disk.path)
		str_addf(to, "disk %llu\n", (unsigned long long)cfg->disk.size);
}

int hv_shape_args(const struct strv *args, struct str *to, struct err *e)
{
	for (size_t i = 0; i < args->n; i++)
		str_addf(to, "arg %s\n", args->p[i]);
	return str_check(to) < 0 ? err_set(e, -ENOMEM, "out of memory") : 0;
}
