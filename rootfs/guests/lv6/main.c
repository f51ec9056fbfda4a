#include "cpu.h"
#include "io.h"
#include "long_mode.h"
#include "lv6.h"
#include "page_tables.h"
#include "print.h"
#include "serial.h"

#define EFER_SYSTEM_CALL_ENABLE 1
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define RFLAGS_CLEARED 0x40700	/* AC, DF, IF, TF */

#define NO_SUCH_CALL -38l

#define CPUID_TIME_STAMP_COUNTER 0x15
#define MICROSECONDS 1000000

#define EMULATOR_EXIT 0x501	/* QEMU's isa-debug-exit, where it is by default */
#define EMULATOR_SHUTDOWN 0x8900

extern uint8_t entry_page[], program_page[], system_call_entry[];
extern uint64_t program_table[PAGE_ENTRIES];
_Noreturn void enter_program(void);

/* What is below the program's table. */
static uint64_t directory_pointers[PAGE_ENTRIES] __attribute__((aligned(PAGE_SIZE)));
static uint64_t directory[PAGE_ENTRIES] __attribute__((aligned(PAGE_SIZE)));
static uint64_t kernel_pages[PAGE_ENTRIES] __attribute__((aligned(PAGE_SIZE)));
static uint64_t program_pages[PAGE_ENTRIES] __attribute__((aligned(PAGE_SIZE)));

static uint64_t cycles_a_microsecond = 1;

static void print_time(void)
{
	uint64_t now = rdtsc() / cycles_a_microsecond;

	print("[");
	print_decimal((uint32_t)(now / MICROSECONDS), 5, ' ');
	print(".");
	print_decimal((uint32_t)(now % MICROSECONDS), 6, '0');
	print("] ");
}

static void say(const char *word, uint64_t number)
{
	print_time();
	print(word);
	print(" ");
	print_decimal((uint32_t)number, 0, ' ');
	print("\n");
}

static void measure_time(void)
{
	struct cpuid found = cpuid(CPUID_TIME_STAMP_COUNTER);
	uint64_t frequency = found.eax ? (uint64_t)found.ecx * found.ebx / found.eax : 0;

	if (frequency >= MICROSECONDS)
		cycles_a_microsecond = frequency / MICROSECONDS;
	print_time();
	print("tsc: ");
	print_decimal((uint32_t)cycles_a_microsecond, 0, ' ');
	print(" MHz\n");
}

_Noreturn static void power_off(void)
{
	static const char shutdown[] = "Shutdown";

	outb(EMULATOR_EXIT, 0);
	for (const char *next = shutdown; *next; next++)
		outb(EMULATOR_SHUTDOWN, (uint8_t)*next);
	halt_forever();
}

int64_t system_call(uint64_t number, uint64_t argument)
{
	switch (number) {
	case HEY:
		say("hey", argument);
		return 0;
	case BYE:
		say("bye", argument);
		power_off();
	default:
		return NO_SUCH_CALL;
	}
}

/* The program sees its page, and the kernel's entry page, which is there for the kernel. */
static void fill_program_table(void)
{
	program_table[0] = (uint64_t)directory_pointers | PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER;
	directory_pointers[0] = (uint64_t)directory | PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER;
	directory[0] = (uint64_t)kernel_pages | PAGE_PRESENT | PAGE_WRITABLE;
	directory[PROGRAM >> 21] = (uint64_t)program_pages | PAGE_PRESENT | PAGE_USER;
	kernel_pages[(uint64_t)entry_page >> 12] = (uint64_t)entry_page | PAGE_PRESENT | PAGE_WRITABLE;
	program_pages[PROGRAM >> 12 & (PAGE_ENTRIES - 1)] = (uint64_t)program_page | PAGE_PRESENT | PAGE_USER;
}

static void enable_system_calls(void)
{
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SYSTEM_CALL_ENABLE);
	wrmsr(MSR_STAR, (uint64_t)SYSRET_BASE << 48 | (uint64_t)KERNEL_CODE << 32);
	wrmsr(MSR_LSTAR, (uint64_t)system_call_entry);
	wrmsr(MSR_SFMASK, RFLAGS_CLEARED);
}

_Noreturn void main(void)
{
	serial_initialize();
	measure_time();
	print_time();
	print("booting...\n");
	fill_program_table();
	enable_system_calls();
	enter_program();
}
