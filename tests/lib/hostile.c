/* hostile.c - a guest without an operating system that writes garbage to everything a machine has: PCI
 * configuration, device registers, rings, descriptors, doorbells.
 *
 * Built by kvm/test_vmm.py as an ELF "kernel" for the 64-bit boot protocol: entered in long mode with the
 * first 4 GiB mapped as they are, RSI = zero page. It never ends by itself unless its own writes break it.
 * The command line is "seed=N"; with the same seed it does the same. A character on the UART for each hundred
 * of its steps says that it lives.
 *
 * Pure garbage gets no further than the first check. So most steps bring a device to where its rings are
 * served, as a driver would, and then a few things are wrong. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* As vmm/layout.h and vmm/virtio/pci.h have it. */
#define BARS     0xD0000000ull
#define BAR_SIZE 0x4000u
#define SLOTS    32u
#define ISR      0x800u
#define CONFIG   0x1000u
#define NOTIFY   0x2000u
#define TABLE    0x3000u
/* Where its rings and buffers are; its own code is below. The last one is the end of its memory. */
#define ARENA     0x1000000ull
#define ARENA_LEN 0x400000ull
#define RAM       0x4000000ull

#define CMD_LINE_PTR 0x228 /* in the zero page */
#define STEPS        100u

static u64 state;

static u64 random(void)
{
	state ^= state << 13; /* xorshift64 */
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545F4914F6CDD1Dull;
}

static u64 below(u64 n)
{
	return (random() >> 16) % n;
}

static void out(u16 port, u32 v, u32 size)
{
	if (size == 1)
		__asm__ volatile("outb %b0, %1" : : "a"(v), "Nd"(port));
	else if (size == 2)
		__asm__ volatile("outw %w0, %1" : : "a"(v), "Nd"(port));
	else
		__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static u32 in(u16 port)
{
	u32 v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static void put(u64 at, u64 v, u32 size)
{
	if (size == 1)
		*(volatile u8 *)at = (u8)v;
	else if (size == 2)
		*(volatile u16 *)at = (u16)v;
	else if (size == 4)
		*(volatile u32 *)at = (u32)v;
	else
		*(volatile u64 *)at = v;
}

/* A number that some check has to look at. */
static u64 edge(void)
{
	static const u64 edges[] = { 0,          1,       2,   0x7F,       0xFF,  0xFFFF,     0x7FFFFFFF,
				     0xFFFFFFFF, RAM - 1, RAM, 0xC0000000, ~0ull, ~0ull << 12 };

	return below(4) ? random() : edges[below(sizeof edges / sizeof *edges)] + below(3) - 1;
}

/* Mostly an address in the arena; sometimes any. */
static u64 address(void)
{
	return below(16) ? ARENA + below(ARENA_LEN) : edge();
}

static u64 bar(void)
{
	return BARS + below(SLOTS / 2) * BAR_SIZE; /* the first ones have devices */
}

static void config_space(void)
{
	u32 size = 1u << below(3);

	out(0xCF8, below(8) ? 0x80000000u | (u32)(below(SLOTS) << 11 | below(256)) : (u32)random(), 4);
	if (below(2))
		out((u16)(0xCFC + below(4 / size) * size), (u32)edge(), size);
	else
		(void)in(0xCFC);
}

static void any_register(void)
{
	static const u32 places[] = { 0, 0, 0, ISR, CONFIG, NOTIFY, TABLE, TABLE + 0x800 };
	u64 at = bar() + places[below(8)] + below(below(2) ? 0x40 : 0x800);

	if (below(3))
		put(at, edge(), 1u << below(4));
	else
		(void)*(volatile u32 *)(at & ~3ull);
}

/* Registers of virtio's common configuration */
enum {
	DFSEL = 0,
	DF = 4,
	GFSEL = 8,
	GF = 12,
	VECTOR = 16,
	STATUS = 20,
	QSEL = 22,
	QSIZE = 24,
	QVECTOR = 26,
	QENABLE = 28,
	QDESC = 32,
	QAVAIL = 40,
	QUSED = 48
};

static void driver(void)
{
	u64 b = bar();
	u32 queues = 1 + (u32)below(6);

	if (!below(4))
		put(b + STATUS, 0, 1);
	put(b + STATUS, 3, 1);
	for (u32 i = 0; i < 2; i++) {
		put(b + DFSEL, i, 4);
		put(b + GFSEL, i, 4);
		put(b + GF, *(volatile u32 *)(b + DF) & (below(2) ? ~0u : (u32)random() | i), 4);
	}
	put(b + STATUS, 11, 1);
	for (u32 q = 0; q < queues; q++) {
		put(b + QSEL, q, 2);
		if (below(2))
			put(b + QSIZE, below(8) ? 1u << below(9) : edge(), 2);
		put(b + QVECTOR, below(20), 2);
		put(b + QDESC, address() & ~15ull, 8);
		put(b + QAVAIL, address() & ~1ull, 8);
		put(b + QUSED, address() & ~3ull, 8);
		put(b + QENABLE, 1, 2);
	}
	put(b + STATUS, 15, 1);
}

/* Fills some of the arena with what looks like descriptors, and with small numbers, which look like indices.
 */
static void memory(void)
{
	u64 at = ARENA + (below(ARENA_LEN - 0x2000) & ~15ull);

	for (u32 i = 0; i < 256; i++, at += 16) {
		if (below(2)) {
			put(at, address(), 8);
			put(at + 8, below(8) ? below(0x2000) : edge(), 4);
			put(at + 12, below(8), 2); /* next, write, indirect */
			put(at + 14, below(256), 2);
		} else {
			for (u32 k = 0; k < 16; k += 2)
				put(at + k, below(256), 2);
		}
	}
}

static void doorbells(void)
{
	for (u32 s = 0; s < SLOTS / 2; s++)
		put(BARS + s * BAR_SIZE + NOTIFY, below(6), 2);
}

static void step(void)
{
	switch (below(8)) {
	case 0:
		config_space();
		break;
	case 1:
	case 2:
		any_register();
		break;
	case 3:
	case 4:
		driver();
		break;
	case 5:
	case 6:
		memory();
		break;
	default:
		doorbells();
	}
}

static u64 seed_of(const char *s)
{
	u64 n = 0;

	for (; *s && *s != '='; s++)
		;
	for (s += *s != 0; *s >= '0' && *s <= '9'; s++)
		n = n * 10 + (u64)(*s - '0');
	return n;
}

/* The entry: nothing is above it on the stack. */
__attribute__((noreturn, used)) void start(const u8 *zero_page)
{
	state = 0x9E3779B97F4A7C15ull *
		(seed_of((const char *)(u64) * (const u32 *)(zero_page + CMD_LINE_PTR)) + 1);
	for (u32 n = 0;; n++) {
		if (n % STEPS == 0)
			out(0x3F8, '.', 1);
		step();
	}
}

__asm__(".globl _start\n_start:\n\tmov %rsi, %rdi\n\tcall start\n");
