/* qemu_args.c - a vmcfg as QEMU's argument list.
 *
 * Called by qemu.c and its test. Trusts the paths, which the caller checked; QEMU parses what it gets,
 * so a comma in a value is doubled where QEMU would end the value there. What each argument bought, in
 * milliseconds, is in docs/machine.md. */
#include <errno.h>

#include "hyper/disk.h"
#include "hyper/qemu.h"
#include "hyper/shape.h"

#define MIB (1u << 20)

/* The same for every machine. */
static const char *const fixed[] = {
	"-nodefaults", "-no-user-config",
	"-no-reboot", /* a reset, also by a panic, ends QEMU */
	"-display",    "none",
	"-bios",       "qboot.rom",
};

/* A VM that is copied forks for that; its copies deny it to themselves (qemu_fork.c). */
static const char *const sandbox[] = {
	"on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	"on,obsolete=deny,elevateprivileges=deny,spawn=allow,resourcecontrol=deny",
};

static const char machine[] =
	"q35,graphics=off,usb=off,smm=off,vmport=off,hpet=off,sata=off,smbus=off,i8042=off,"
	"dump-guest-core=off,mem-merge=";

static const char *const devices[] = {
	"-chardev", "socket,id=qmp,fd=5",
	"-mon",     "chardev=qmp,mode=control",
	"-chardev", "socket,id=console,fd=4",
	"-device",  "isa-serial,chardev=console",
	"-chardev", "socket,id=agent,fd=3",
	"-device",  "virtio-serial-pci,max_ports=2",
	"-device",  "virtserialport,chardev=agent,name=cor.agent,nr=1,id=agent",
};
/* Gives the host what the guest has freed. page-poison=off: QEMU must not tell the guest that a page given
 * back is read as zeros. In a clone it is read as the template's. A guest that counts on zeros
 * (init_on_free, page_poison) then reports nothing. */
static const char *const balloon[] = {
	"-device",
	"virtio-balloon-pci,free-page-reporting=on,deflate-on-oom=on,page-poison=off",
};
_Static_assert(QEMU_FD_AGENT == 3 && QEMU_FD_CONSOLE == 4 && QEMU_FD_QMP == 5, "named in devices[]");

/* "key=value" with the commas of the value doubled. */
static void add_option(struct strv *to, const char *head, const char *value)
{
	scoped_str s = { 0 };

	str_add(&s, head);
	for (; *value; value++) {
		if (*value == ',')
			str_addc(&s, ',');
		str_addc(&s, *value);
	}
	strv_add_take(to, str_take(&s));
}

static void add_all(struct strv *to, const char *const *args, size_t n)
{
	for (size_t i = 0; i < n; i++)
		strv_add(to, args[i]);
}

static void add_cpu(const struct vmcfg *cfg, struct strv *to)
{
	strv_add(to, "-accel");
	strv_add(to, cfg->kvm ? "kvm" : "tcg,tb-size=64");
	strv_add(to, "-cpu");
	/* "rep movsb" is a loop of single bytes in software emulation: kernel and C library must not take it
	 * for the quick way. */
	strv_add(to, cfg->kvm ? "host" : "max,-erms,-fsrm");
	strv_add(to, "-smp");
	strv_addf(to, "%u", cfg->vcpus);
}

static int check(const struct vmcfg *cfg, struct err *e)
{
	if (!cfg->hypervisor_path || !cfg->kernel || !hv_shape_os(cfg) || !cfg->cmdline || !cfg->share)
		return err_set(e, -EINVAL, "machine: a path is missing in the plan");
	if (cfg->memory < MIB || cfg->memory % MIB != 0)
		return err_set(e, -EINVAL, "machine: %llu bytes of memory: not a multiple of 1 MiB",
			       (unsigned long long)cfg->memory);
	if (cfg->fsd_path && (cfg->template_dir || !cfg->jail_path))
		return err_set(e, -EINVAL, "machine: virtio-fs with a template, or without a jail");
	if (cfg->vcpus < 1)
		return err_set(e, -EINVAL, "machine: no vCPU");
	return 0;
}

/* Memory that cor-fsd maps, too, is a memfd. A template's memory is a file: its maker's is the file itself, a
 * clone's a private, copy-on-write mapping of it. Without the preloaded object QEMU opens it anew, for
 * writing. */
static void add_memory(const struct vmcfg *cfg, struct strv *to)
{
	unsigned long long mib = cfg->memory / MIB;

	if (!cfg->template_dir && !cfg->fsd_path)
		return; /* anonymous */
	strv_add(to, "-machine");
	strv_add(to, "memory-backend=mem");
	strv_add(to, "-object");
	if (cfg->fsd_path) {
		strv_addf(to, "memory-backend-memfd,id=mem,size=%lluM,share=on", mib);
		return;
	}
	strv_addf(to, "memory-backend-file,id=mem,size=%lluM,share=%s,mem-path=%s", mib,
		  cfg->template_make ? "on" : "off",
		  cfg->hypervisor_preload ? QEMU_MEMORY_NAME : QEMU_MEMORY_ANEW);
}

/* Each layer is a pmem device behind the memory. QEMU opens what the monitor has opened, for reading: no name
 * leads to another file. In software emulation and in KVM alike the guest's writes to it are lost. */
static void add_layers(const struct vmcfg *cfg, struct strv *to)
{
	for (size_t i = 0; i < cfg->layers.n; i++) {
		strv_add(to, "-object");
		strv_addf(to,
			  "memory-backend-file,id=layer%zu,size=%llu,align=%u,share=on,readonly=on,"
			  "mem-path=/proc/self/fd/%zu",
			  i, (unsigned long long)cfg->layers.p[i].size, LAYER_ALIGN, QEMU_FD_LAYERS + i);
		strv_add(to, "-device");
		strv_addf(to, "virtio-pmem-pci,memdev=layer%zu", i);
	}
}

/* The disk is what the monitor has opened, too. discard: what the guest deletes gives its space back. report:
 * a host without space is an error that the guest sees; by default QEMU would stop it. locking: nobody else
 * can open a file without a name. drop-cache: a clone would begin by writing the file to the host's disk. */
static void add_disk(const struct vmcfg *cfg, struct strv *to)
{
	if (!hv_disk_fds(cfg))
		return;
	strv_add(to, "-blockdev");
	strv_addf(to,
		  "driver=file,node-name=disk,filename=/proc/self/fd/%zu,discard=unmap,locking=off,"
		  "drop-cache=off",
		  QEMU_FD_LAYERS + cfg->layers.n);
	strv_add(to, "-device");
	strv_add(to, "virtio-blk-pci,drive=disk,num-queues=1,rerror=report,werror=report");
}

/* RAM, and room behind it for devices that are memory. */
static void add_size(const struct vmcfg *cfg, struct strv *to)
{
	uint64_t all = cfg->memory;

	for (size_t i = 0; i < cfg->layers.n; i++)
		all += cfg->layers.p[i].size;
	strv_add(to, "-m");
	if (cfg->layers.n)
		strv_addf(to, "%lluM,maxmem=%lluM", (unsigned long long)(cfg->memory / MIB),
			  (unsigned long long)(all / MIB));
	else
		strv_addf(to, "%lluM", (unsigned long long)(cfg->memory / MIB));
}

/* A clone that gives back memory without the preloaded object would take it from its template. */
static void add_balloon(const struct vmcfg *cfg, struct strv *to)
{
	if (!cfg->template_dir || cfg->hypervisor_preload)
		add_all(to, balloon, ARRAY_LEN(balloon));
}

/* A clone has its kernel in memory. */
static void add_boot(const struct vmcfg *cfg, struct strv *to)
{
	if (cfg->template_dir && !cfg->template_make) {
		strv_add(to, "-incoming");
		strv_add(to, "defer");
		return;
	}
	strv_add(to, "-kernel");
	strv_add(to, cfg->kernel);
	if (cfg->initrd) {
		strv_add(to, "-initrd");
		strv_add(to, cfg->initrd);
	}
	strv_add(to, "-append");
	strv_add(to, cfg->cmdline);
}

/* What serves the shared directory: cor-fsd, or QEMU itself. */
static void add_share(const struct vmcfg *cfg, struct strv *to)
{
	if (cfg->fsd_path) {
		strv_add(to, "-chardev");
		strv_addf(to, "socket,id=share,fd=%d", QEMU_FD_SHARE);
		return;
	}
	strv_add(to, "-fsdev");
	add_option(to, "local,id=share,security_model=passthrough,multidevs=remap,path=", cfg->share);
}

int qemu_args(const struct vmcfg *cfg, struct strv *to, struct err *e)
{
	int r;

	r = check(cfg, e);
	if (r < 0)
		return r;
	strv_add(to, cfg->hypervisor_path);
	add_all(to, fixed, ARRAY_LEN(fixed));
	strv_add(to, "-sandbox");
	strv_add(to, sandbox[cfg->forkable]);
	strv_add(to, "-machine");
	strv_addf(to, "%s%s", machine, cfg->merge ? "on" : "off");
	add_cpu(cfg, to);
	add_size(cfg, to);
	add_memory(cfg, to);
	add_boot(cfg, to);
	add_share(cfg, to);
	add_all(to, devices, ARRAY_LEN(devices));
	strv_add(to, "-device");
	strv_add(to, cfg->fsd_path ? "vhost-user-fs-pci,chardev=share,tag=cor"
				   : "virtio-9p-pci,fsdev=share,mount_tag=cor");
	add_balloon(cfg, to);
	add_layers(cfg, to);
	add_disk(cfg, to);
	for (size_t i = 0; i < cfg->hypervisor_params.n; i++)
		strv_add(to, cfg->hypervisor_params.p[i]);
	r = strv_check(to);
	return r < 0 ? err_set(e, r, "out of memory") : 0;
}
