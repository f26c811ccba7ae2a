/* test_machine.c - the whole machine on a hypervisor that plays a script: ports, power, pausing, ends. */
#include "unit.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/io.h"
#include "hv_fake.h"
#include "vmm/control.h"
#include "vmm/layout.h"
#include "vmm/snap.h"
#include "wire/hotpages.h"
#include "wire/vmmctl.h"

static struct hv_fake fake;
static struct machine m;

/* A kernel of a few bytes. */
static int kernel_fd(void)
{
	struct {
		Elf64_Ehdr h;
		Elf64_Phdr ph;
	} f = { .h = { .e_type = ET_EXEC,
		       .e_machine = EM_X86_64,
		       .e_entry = 0x100000,
		       .e_phoff = sizeof(Elf64_Ehdr),
		       .e_phentsize = sizeof(Elf64_Phdr),
		       .e_phnum = 1 },
		.ph = { .p_type = PT_LOAD, .p_paddr = 0x100000, .p_filesz = 64, .p_memsz = 64 } };

	memcpy(f.h.e_ident, ELFMAG, SELFMAG);
	f.h.e_ident[EI_CLASS] = ELFCLASS64;
	return io_memfd("kernel", &f, sizeof f);
}

static const off_t config_memory = 32 * LAYOUT_MIB;

static struct vmm_cfg config(void)
{
	return (struct vmm_cfg){ .kvm_fd = -1,
				 .kernel_fd = kernel_fd(),
				 .initrd_fd = -1,
				 .serial_fd = -1,
				 .memory_fd = -1,
				 .hot_fd = -1,
				 .state_fd = -1,
				 .memory = (uint64_t)config_memory,
				 .cpus = 2,
				 .cmdline = "quiet",
				 .has_console = true,
				 .console = {
					 .in_fd = -1, .out_fd = -1, .port_in_fd = -1, .port_out_fd = -1 } };
}

static int setup(void **state)
{
	struct vmm_cfg cfg = config();

	(void)state;
	hv_fake_init(&fake);
	return machine_build(&m, &fake.hv, &cfg, NULL);
}

static int teardown(void **state)
{
	(void)state;
	machine_fini(&m);
	assert_true(fake.closed);
	return 0;
}

/* Runs vCPU 0 through these exits. */
static void play(struct fake_exit *x, unsigned n)
{
	fake.script = x;
	fake.n_script = n;
	assert_int_equal(machine_run(&m, NULL), 0);
}

static void test_power_off(void **state)
{
	struct fake_exit x[] = {
		{ HV_EXIT_PIO, 0x80, 0, 0, 1, false },        /* nobody there: ones */
		{ HV_EXIT_PIO, 0x3F8 + 5, 0, 0, 1, false },   /* no UART */
		{ HV_EXIT_PIO, 0x64, 1, 1, 1, false },        /* an idle keyboard controller */
		{ HV_EXIT_PIO, 0xCF8, 1u << 31, 0, 4, true }, /* the bridge's ids */
		{ HV_EXIT_PIO, 0xCFC, 0, 0, 4, false },
		{ HV_EXIT_MMIO, 0x90000000, 0, 0, 8, false }, /* a hole */
		{ HV_EXIT_MMIO, 0x90000000, 1, 0, 8, true },
		{ HV_EXIT_MMIO, LAYOUT_BAR32 + LAYOUT_BAR_SIZE + 0x12, 0, 0, 2,
		  false }, /* number of queues */
		{ HV_EXIT_INTR, 0, 0, 0, 0, false },
		{ HV_EXIT_PIO, 0x64, 0x20, 0, 1, true },
		{ HV_EXIT_PIO, 0x600, 0x14, 0, 1, true }, /* S5 without the enable bit */
		{ HV_EXIT_PIO, 0x600, 0x24, 0, 1, true }, /* another state */
		{ HV_EXIT_PIO, 0x600, 0x34, 0, 1, true },
	};

	(void)state;
	play(x, ARRAY_LEN(x));
	assert_int_equal(m.end, END_POWEROFF);
	assert_int_equal(fake.at, ARRAY_LEN(x));
	assert_int_equal(x[0].got, 0xFF);
	assert_int_equal(x[1].got, 0xFF);
	assert_int_equal(x[2].got, 0);
	assert_int_equal(x[4].got, 0x0D578086);
	assert_true(x[5].got == UINT64_MAX);
	assert_int_equal(x[7].got, 2);
}

static void end_by(struct fake_exit x, enum machine_end how)
{
	play(&x, 1);
	assert_int_equal(m.end, how);
}

static void test_reset(void **state)
{
	(void)state;
	end_by((struct fake_exit){ HV_EXIT_PIO, 0xCF9, 6, 0, 1, true }, END_RESET);
}

static void test_kbd_reset(void **state)
{
	(void)state;
	end_by((struct fake_exit){ HV_EXIT_PIO, 0x64, 0xFE, 0, 1, true }, END_RESET);
}

static void test_triple_fault(void **state)
{
	(void)state;
	end_by((struct fake_exit){ HV_EXIT_RESET, 0, 0, 0, 0, false }, END_RESET);
}

static void test_crash(void **state)
{
	(void)state;
	end_by((struct fake_exit){ HV_EXIT_CRASH, 0, 0, 0, 0, false }, END_CRASH);
	assert_string_equal(m.end_reason, "scripted");
}

static void test_start(void **state)
{
	(void)state;
	assert_int_equal(fake.n_vcpus, 2);
	assert_int_equal(fake.n_mem, 1);
	assert_int_equal(fake.mem[0].len, 32 * LAYOUT_MIB);
	assert_int_equal(fake.cpu.regs.rip, 0x100000);
	assert_int_equal(fake.n_events, 1);
}

/* A repeated port instruction touches what it was given, no more. */
static void test_repeated(void **state)
{
	uint8_t buf[8] = { 0 };
	struct hv_exit x = { .kind = HV_EXIT_PIO, .addr = 0x80, .data = buf, .size = 2, .count = 3 };

	(void)state;
	machine_exit(&m, &x);
	assert_memory_equal(buf, "\xFF\xFF\xFF\xFF\xFF\xFF\0\0", 8);
}

static void *pauser(void *arg)
{
	(void)arg;
	machine_pause(&m);
	assert_int_equal(m.n_parked, 2);
	machine_resume(&m);
	while (__atomic_load_n(&fake.n_stood_still, __ATOMIC_SEQ_CST) < 2) /* each of them is told */
		(void)usleep(100);
	machine_pause(&m);
	machine_stop(&m, END_STOPPED, "test", 7);
	machine_pause(&m); /* an ended machine: does not wait */
	return NULL;
}

static void test_pause(void **state)
{
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, pauser, NULL), 0);
	play(NULL, 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(m.end, END_STOPPED);
	assert_int_equal(m.end_code, 7);
	assert_int_equal(fake.n_stood_still, 2); /* the end tells nobody */
}

/* A cut memory file ends the process with a reason, whoever touches a page of it first. */
static void test_cut_memory(void **state)
{
	char text[256] = { 0 };
	int out[2], status = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int file = memfd_create("memory", MFD_CLOEXEC);
		volatile uint8_t *p;

		(void)dup2(out[1], STDERR_FILENO);
		(void)ftruncate(file, 4096);
		p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
		machine_catch_bus();
		(void)ftruncate(file, 0);
		_exit(p[0]);
	}
	(void)close(out[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == MACHINE_EXIT_CRASH);
	assert_true(read(out[0], text, sizeof text - 1) > 0);
	assert_non_null(strstr(text, "cor-vmm: event=crashed reason=\"a file that is guest memory was cut"));
	(void)close(out[0]);
}

/* ---- control socket and snapshots ---- */

static int client;
static int state_fd, memory_fd;

static struct vmmctl_answer ask(uint32_t verb, const int *fds, size_t n_fds)
{
	struct vmmctl_request q = { .magic = VMMCTL_MAGIC, .verb = verb };
	struct vmmctl_answer a = { 0 };

	assert_int_equal(io_send_fds(client, &q, sizeof q, fds, n_fds), 0);
	assert_int_equal(read(client, &a, sizeof a), sizeof a);
	assert_int_equal(a.magic, VMMCTL_MAGIC);
	return a;
}

static void *controller(void *arg)
{
	int files[2] = { state_fd, memory_fd };
	struct vmmctl_answer a = ask(VMMCTL_INFO, NULL, 0);

	(void)arg;
	assert_int_equal(a.state, VMMCTL_RUNNING);
	assert_int_equal(a.vcpus, 2);
	assert_int_equal(a.memory, 32 * LAYOUT_MIB);
	assert_int_equal(ask(VMMCTL_SAVE, files, 2).result, -EBUSY); /* it runs */
	assert_int_equal(ask(VMMCTL_N, NULL, 0).result, -EPROTO);
	assert_int_equal(ask(VMMCTL_BALLOON, NULL, 0).result, -ENODEV);
	assert_int_equal(ask(VMMCTL_PAUSE, NULL, 0).state, VMMCTL_PAUSED);
	assert_int_equal(ask(VMMCTL_SAVE, NULL, 0).result, -EINVAL);
	assert_int_equal(ask(VMMCTL_SAVE, files, 2).result, 0);
	assert_int_equal(ask(VMMCTL_RESUME, NULL, 0).state, VMMCTL_RUNNING);
	a = ask(VMMCTL_STOP, NULL, 0);
	assert_int_equal(a.state, VMMCTL_ENDED);
	assert_int_equal(a.end, END_STOPPED);
	return NULL;
}

/* A machine's memory as snap_save_memory() writes it: the same from a file and from anonymous memory, with
 * holes. */
static void check_saved_memory(bool from_file)
{
	struct vmm_cfg cfg = config();
	scoped_fd to = memfd_create("saved", MFD_CLOEXEC);
	scoped_free uint8_t *saved = malloc(cfg.memory);
	struct stat st;

	assert_true(to >= 0 && saved);
	hv_fake_init(&fake);
	if (from_file)
		cfg.memory_fd = memfd_create("memory", MFD_CLOEXEC);
	assert_int_equal(machine_build(&m, &fake.hv, &cfg, NULL), 0);
	assert_int_equal(m.ram_fd >= 0, from_file);
	assert_int_equal((uintptr_t)m.ram % (2 * LAYOUT_MIB) == 0 || from_file, true);
	m.ram[0x200FFF] = m.ram[0x202000] = m.ram[m.ram_size - 1] = 5;
	assert_int_equal(snap_save_memory(&m, to, NULL), 0);
	assert_int_equal(fstat(to, &st), 0);
	assert_int_equal(st.st_size, m.ram_size);
	assert_true(st.st_blocks * 512 < 1 << 20);
	assert_int_equal(pread(to, saved, m.ram_size, 0), m.ram_size);
	assert_memory_equal(saved, m.ram, m.ram_size);
	machine_fini(&m);
}

static void test_saved_memory(void **state)
{
	(void)state;
	check_saved_memory(false);
	check_saved_memory(true);
}

/* Builds a machine from the two files. */
static int restore_as(bool clone, struct vmm_cfg *cfg, struct err *e)
{
	hv_fake_init(&fake);
	(void)close(cfg->kernel_fd);
	cfg->kernel_fd = -1;
	cfg->clone = clone;
	cfg->state_fd = dup(state_fd);
	cfg->memory_fd = dup(memory_fd);
	assert_int_equal(lseek(state_fd, 0, SEEK_SET), 0);
	return machine_build(&m, &fake.hv, cfg, e);
}

static int restore(struct vmm_cfg *cfg, struct err *e)
{
	return restore_as(true, cfg, e);
}

static void refuse_snapshot(off_t at, const void *bytes, size_t n)
{
	struct vmm_cfg cfg = config();
	struct err e = { 0 };
	uint8_t old[16];

	assert_int_equal(pread(state_fd, old, n, at), n);
	assert_int_equal(pwrite(state_fd, bytes, n, at), n);
	assert_int_equal(restore(&cfg, &e), -EBADMSG);
	assert_true(e.msg[0]);
	assert_int_equal(pwrite(state_fd, old, n, at), n);
}

static void check_refusals(void)
{
	size_t devices = 56 + 2 * sizeof(struct hv_cpu);
	struct vmm_cfg cfg = config();
	struct stat st;

	refuse_snapshot(0, "x", 1);                                                  /* no snapshot */
	refuse_snapshot(8, "\xFF", 1);                                               /* version */
	refuse_snapshot((off_t)devices, "net", 4);                                   /* another device */
	refuse_snapshot((off_t)(devices + sizeof(struct vdev_snapshot)), "\xFF", 1); /* PCI command */
	cfg.cpus = 1;
	assert_int_equal(restore(&cfg, NULL), -EBADMSG);
	cfg = config();
	cfg.memory *= 2;
	assert_int_equal(restore(&cfg, NULL), -EINVAL); /* the memory file is shorter */
	cfg = config();
	cfg.memory *= 2;
	assert_int_equal(restore_as(false, &cfg, NULL), -EINVAL); /* and stays so: it is all there is */
	assert_int_equal(fstat(memory_fd, &st), 0);
	assert_int_equal(st.st_size, config_memory);
	assert_int_equal(ftruncate(state_fd, (off_t)devices + 100), 0);
	cfg = config();
	assert_int_equal(restore(&cfg, NULL), -EBADMSG);
}

static void test_control_and_snapshot(void **state)
{
	struct control c;
	struct vmm_cfg cfg = config();
	int pair[2];
	pthread_t t;

	(void)state;
	hv_fake_init(&fake);
	fake.clock_ns = 12345;
	assert_int_equal(machine_build(&m, &fake.hv, &cfg, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	state_fd = memfd_create("state", 0);
	memory_fd = memfd_create("memory", 0);
	client = pair[1];
	m.ram[0x200000] = 77;
	m.uart_scratch = 9;
	assert_int_equal(control_init(&c, &m, pair[0], NULL), 0);
	assert_int_equal(pthread_create(&t, NULL, controller, NULL), 0);
	play(NULL, 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	control_fini(&c);
	control_fini(&c);
	machine_fini(&m);

	cfg = config();
	assert_int_equal(restore(&cfg, NULL), 0);
	assert_int_equal(m.ram[0x200000], 77);
	assert_int_equal(m.uart_scratch, 9);
	assert_int_equal(fake.clock_ns, 12345);
	assert_int_equal(fake.n_stood_still, 2);
	assert_int_equal(fake.cpu.regs.rip, 0x100000);
	m.ram[0x200000] = 78; /* a clone's write stays its own */
	machine_fini(&m);
	cfg = config();
	assert_int_equal(restore(&cfg, NULL), 0);
	assert_int_equal(m.ram[0x200000], 77);
	assert_int_equal(snap_save_memory(&m, memory_fd, NULL), -ENOTSUP);
	machine_fini(&m);
	check_refusals();
	(void)close(client);
	(void)close(state_fd);
	(void)close(memory_fd);
}

/* Has this process a copy of that page of a private mapping? */
static bool is_copy(const uint8_t *p)
{
	scoped_fd fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry;

	assert_int_equal(pread(fd, &entry, sizeof entry, (off_t)((uintptr_t)p / 4096 * sizeof entry)),
			 sizeof entry);
	return (entry >> 63) && !(entry >> 61 & 1);
}

/* Page 3 of the list is copied if the list holds; the machine runs with any. */
static void check_hot(const void *list, size_t size, bool valid)
{
	struct vmm_cfg cfg = config();

	cfg.hot_fd = io_memfd("hot", list, size);
	assert_true(cfg.hot_fd >= 0);
	assert_int_equal(restore(&cfg, NULL), 0);
	assert_int_equal(is_copy(m.ram + 3 * GMEM_PAGE), valid);
	assert_int_equal(is_copy(m.ram + 4 * GMEM_PAGE), valid);
	assert_false(is_copy(m.ram + 5 * GMEM_PAGE));
	assert_int_equal(m.ram[3 * GMEM_PAGE], 33);
	machine_fini(&m);
}

/* The pages of a clone that its template says are written soon. */
static void test_hot_pages(void **state)
{
	struct vmm_cfg cfg = config();
	struct hotpages h = { .n = 0 };
	struct stat st;

	(void)state;
	state_fd = memfd_create("state", 0);
	memory_fd = memfd_create("memory", 0);
	hv_fake_init(&fake);
	assert_int_equal(machine_build(&m, &fake.hv, &cfg, NULL), 0);
	m.ram[3 * GMEM_PAGE] = 33;
	assert_int_equal(snap_save(&m, state_fd, NULL), 0);
	assert_int_equal(snap_save_memory(&m, memory_fd, NULL), 0);
	machine_fini(&m);

	assert_int_equal(fstat(memory_fd, &st), 0);
	assert_true(hotpages_add(&h, 3) && hotpages_add(&h, 4));
	hotpages_seal(&h, &st);
	check_hot(&h, hotpages_size(h.n), true);
	check_hot(&h, hotpages_size(h.n) - 1, false); /* cut */
	check_hot(&h, 0, false);                      /* there is none */
	h.ranges[0].n = (uint32_t)(32 * LAYOUT_MIB / GMEM_PAGE);
	hotpages_seal(&h, &st);
	check_hot(&h, hotpages_size(h.n), false); /* behind the end */
	h.ranges[0].n = 2;
	st.st_ino++;
	hotpages_seal(&h, &st);
	check_hot(&h, hotpages_size(h.n), false); /* of another template */
	(void)close(state_fd);
	(void)close(memory_fd);
}

/* A guest that opens its port for ever does not fill the socket: each request has its answer. */
static void test_control_port(void **state)
{
	const struct vmmctl_request q = { .magic = VMMCTL_MAGIC, .verb = VMMCTL_INFO };
	struct vmmctl_answer a;
	struct vmm_cfg cfg = config();
	struct control c;
	int pair[2];

	(void)state;
	hv_fake_init(&fake);
	assert_int_equal(machine_build(&m, &fake.hv, &cfg, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(control_init(&c, &m, pair[0], NULL), 0);
	for (int i = 0; i < 10000 && m.on_port_open; i++)
		m.on_port_open(m.on_port_arg);
	assert_int_equal(write(pair[1], &q, sizeof q), sizeof q);
	assert_int_equal(loop_once(&m.loop, 0), 0);
	assert_int_equal(read(pair[1], &a, sizeof a), sizeof a);
	assert_int_equal(a.verb, VMMCTL_PORT_OPEN);
	assert_int_equal(read(pair[1], &a, sizeof a), sizeof a);
	assert_int_equal(a.verb, VMMCTL_INFO);
	control_fini(&c);
	(void)close(pair[1]);
	machine_fini(&m);
}

/* Who speaks something else is disconnected; the end is told unasked. */
static void test_control_garbage(void **state)
{
	struct vmmctl_answer a;
	struct vmm_cfg cfg = config();
	struct control c;
	int pair[2];

	(void)state;
	hv_fake_init(&fake);
	assert_int_equal(machine_build(&m, &fake.hv, &cfg, NULL), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(control_init(&c, &m, pair[0], NULL), 0);
	assert_int_equal(write(pair[1], "garbage", 7), 7);
	assert_int_equal(loop_once(&m.loop, 0), 0);
	assert_int_equal(read(pair[1], &a, sizeof a), 0);
	(void)close(pair[1]);
	control_fini(&c);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(control_init(&c, &m, pair[0], NULL), 0);
	machine_stop(&m, END_POWEROFF, NULL, 0);
	control_fini(&c);
	assert_int_equal(read(pair[1], &a, sizeof a), sizeof a);
	assert_int_equal(a.verb, VMMCTL_END);
	assert_int_equal(a.end, END_POWEROFF);
	(void)close(pair[1]);
	machine_fini(&m);
}

/* A vCPU that stands still has finished the access it came with. */
static void test_finish(void **state)
{
	struct fake_exit x[] = { { HV_EXIT_PIO, 0x600, 0x34, 0, 1, true } };

	(void)state;
	play(x, 1);
	assert_int_equal(fake.n_finished, 1);
}

static void test_uart(void **state)
{
	struct vmm_cfg cfg = config();
	struct fake_exit x[] = {
		{ HV_EXIT_PIO, 0x3FB, 0x80, 0, 1, true }, /* divisor: its bytes are not sent */
		{ HV_EXIT_PIO, 0x3F8, 'x', 0, 1, true },
		{ HV_EXIT_PIO, 0x3FB, 0x03, 0, 1, true },
		{ HV_EXIT_PIO, 0x3F8, 'h', 0, 1, true },
		{ HV_EXIT_PIO, 0x3F8, 0x6969, 0, 2, true }, /* a byte wide */
		{ HV_EXIT_PIO, 0x3FD, 0, 0, 1, false },
		{ HV_EXIT_PIO, 0x3F8, 'i', 0, 1, true },
		{ HV_EXIT_PIO, 0x600, 0x34, 0, 1, true },
	};
	int pair[2];
	char text[8];

	(void)state;
	hv_fake_init(&fake);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	cfg.serial_fd = pair[0];
	assert_int_equal(machine_build(&m, &fake.hv, &cfg, NULL), 0);
	play(x, ARRAY_LEN(x));
	assert_int_equal(read(pair[1], text, sizeof text), 2);
	assert_memory_equal(text, "hi", 2);
	assert_int_equal(x[5].got, 0x60);
	machine_fini(&m);
	(void)close(pair[1]);
}

/* One of each: their slots, memory, and the balloon's way in. */
static void test_devices(void **state)
{
	struct vmm_cfg cfg = config();
	int pair[2];

	(void)state;
	hv_fake_init(&fake);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	cfg.rng = cfg.balloon = true;
	cfg.n_pmems = 2;
	cfg.n_disks = cfg.n_nets = 1;
	cfg.pmems[0] = (struct pmem_cfg){ .fd = -1, .size = PMEM_ALIGN, .mode = PMEM_READ_ONLY_N };
	cfg.pmems[1] =
		(struct pmem_cfg){ .index = 1, .fd = -1, .size = 2 * PMEM_ALIGN, .mode = PMEM_PRIVATE_N };
	cfg.disks[0] = (struct blk_cfg){ .fd = memfd_create("disk", 0), .n_queues = 1, .serial = "disk0" };
	assert_int_equal(ftruncate(cfg.disks[0].fd, 4096), 0);
	cfg.nets[0] = (struct net_cfg){ .fd = pair[0], .mac = { 2, 0, 0, 0, 0, 1 } };
	assert_int_equal(machine_build(&m, &fake.hv, &cfg, NULL), 0);
	assert_int_equal(m.n_devs, 7);
	assert_int_equal(fake.n_events, 7);
	assert_string_equal(m.devs[6].d->ops->name, "net");
	assert_int_equal(fake.n_mem, 3);
	assert_int_equal(fake.mem[1].start, LAYOUT_RAM_ABOVE); /* above the hole, each at a GiB */
	assert_int_equal(fake.mem[2].start, LAYOUT_RAM_ABOVE + LAYOUT_GIB);
	assert_int_equal(fake.mem[2].len, 2 * PMEM_ALIGN);
	assert_false(fake.mem[1].writable);
	assert_null(gmem_slice(&m.mem, gpa(LAYOUT_RAM_ABOVE), 1, GMEM_WRITE));
	assert_non_null(gmem_slice(&m.mem, gpa(LAYOUT_RAM_ABOVE + LAYOUT_GIB), 1, GMEM_WRITE));
	assert_int_equal(balloon_set_target(m.balloon, 32 * 256 + 1), -ERANGE);
	machine_fini(&m);
	(void)close(pair[1]);
}

static void test_clone_share(void **state)
{
	struct vmm_cfg cfg = config();
	struct err e = { 0 };

	(void)state;
	hv_fake_init(&fake);
	cfg.n_fs = 1;
	cfg.fs[0] = (struct fs_cfg){ .sock = -1, .tag = "share", .n_requests = 1 };
	cfg.clone = true;
	cfg.memory_fd = memfd_create("memory", 0);
	assert_int_equal(ftruncate(cfg.memory_fd, (off_t)cfg.memory), 0);
	assert_int_equal(machine_build(&m, &fake.hv, &cfg, &e),
			 -ENOTSUP); /* private memory can't be shared */
	assert_true(fake.closed);
}

static void refuse(struct vmm_cfg cfg, int code, int fail_mem)
{
	struct err e = { 0 };

	hv_fake_init(&fake);
	fake.fail_mem = fail_mem;
	assert_int_equal(machine_build(&m, &fake.hv, &cfg, &e), code);
	assert_true(e.msg[0] && fake.closed);
}

static void test_refused(void **state)
{
	struct vmm_cfg cfg = config();

	(void)state;
	cfg.memory = 31 * LAYOUT_MIB;
	refuse(cfg, -EINVAL, 0);
	cfg = config();
	cfg.memory += 4096;
	refuse(cfg, -EINVAL, 0);
	cfg = config();
	cfg.memory = 1ull << 60;
	refuse(cfg, -EINVAL, 0);
	cfg = config();
	cfg.huge_pages = true;
	cfg.memory = 33 * LAYOUT_MIB; /* not whole ones */
	refuse(cfg, -EINVAL, 0);
	cfg = config();
	cfg.cpus = 0;
	refuse(cfg, -EINVAL, 0);
	cfg = config();
	cfg.cpus = 65;
	refuse(cfg, -EINVAL, 0);
	refuse(config(), -ENOSPC, -ENOSPC);
	cfg = config();
	(void)close(cfg.kernel_fd);
	cfg.kernel_fd = io_memfd("kernel", "no", 2);
	refuse(cfg, -ENOEXEC, 0);
}

/* More huge pages than any host has: said at the start, not by a fault later. */
static void test_no_huge_pages(void **state)
{
	struct vmm_cfg cfg = config();
	struct err e = { 0 };

	(void)state;
	cfg.huge_pages = true;
	cfg.memory = 1024 * LAYOUT_GIB;
	hv_fake_init(&fake);
	assert_true(machine_build(&m, &fake.hv, &cfg, &e) < 0);
	assert_non_null(strstr(e.msg, "nr_hugepages"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_power_off),
		T(test_reset),
		T(test_kbd_reset),
		T(test_triple_fault),
		T(test_crash),
		T(test_start),
		T(test_repeated),
		T(test_pause),
		T(test_cut_memory),
		T(test_finish),
		cmocka_unit_test(test_hot_pages),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_clone_share),
		cmocka_unit_test(test_control_and_snapshot),
		cmocka_unit_test(test_saved_memory),
		cmocka_unit_test(test_control_garbage),
		cmocka_unit_test(test_control_port),
		cmocka_unit_test(test_uart),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_huge_pages),
	};
	return cmocka_run_group_tests_name("vmm/machine", tests, NULL, NULL);
}
