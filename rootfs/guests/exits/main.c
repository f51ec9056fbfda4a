#include "apic.h"
#include "finish.h"
#include "interrupts.h"
#include "pic.h"
#include "print.h"
#include "processors.h"
#include "repeat.h"
#include "serial.h"

#define OFTEN 2000
#define PCI_ACCESSES 16384

struct operation {
	const char *name;
	repeat *repeat;
	uint32_t count;
};

static const struct operation operations[] = {
	{ "empty loop", repeat_nothing, OFTEN },
	{ "CPUID", repeat_cpuid, OFTEN },
	{ "IN", repeat_in, OFTEN },
	{ "OUT", repeat_out, OFTEN },
	{ "RDMSR", repeat_rdmsr, OFTEN },
	{ "WRMSR", repeat_wrmsr, OFTEN },
	{ "RDTSC", repeat_rdtsc, OFTEN },
	{ "MMIO load", repeat_load, OFTEN },
	{ "MMIO store", repeat_store, OFTEN },
	{ "VMCALL", repeat_vmcall, OFTEN },
	{ "PCI scan", scan_pci, PCI_ACCESSES },
	{ "INT n", repeat_int, OFTEN },
	{ "#UD", repeat_invalid_opcode, OFTEN },
	{ "#PF", repeat_page_fault, OFTEN },
	{ "interrupt", repeat_interrupt, OFTEN },
	{ "HLT and interrupt", repeat_halt, OFTEN },
	{ "SYSCALL", repeat_system_call, OFTEN },
	{ "INT n at CPL 3", repeat_user_int, OFTEN },
	{ "#PF at CPL 3", repeat_user_page_fault, OFTEN },
};

static const struct operation pause = { "PAUSE", repeat_pause, OFTEN };
static const struct operation switch_processors = { "vCPU switch", repeat_switch, OFTEN };

/* Name and count, and two marks whose distance in time is what the host measures. */
static void run(const struct operation *operation)
{
	print(operation->name);
	print(": ");
	print_decimal(operation->count, 1, ' ');
	print(" <");
	operation->repeat(operation->count);
	print(">\n");
}

_Noreturn void main(void)
{
	serial_initialize();
	pic_initialize();
	apic_initialize();
	interrupts_initialize();
	events_initialize();
	user_initialize();
	for (unsigned i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		run(&operations[i]);
	if (processors_in_package() > 1) {
		run(&pause);
		start_partner();
		run(&switch_processors);
	}
	finish(0);
}
