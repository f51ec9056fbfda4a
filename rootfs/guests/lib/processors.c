#include "processors.h"
#include "apic.h"
#include "cpu.h"
#include "trampoline.h"

/* CPUID leaf 1. */
#define PROCESSORS_SHIFT 16	/* in EBX; valid if there are several */
#define SEVERAL_PROCESSORS (1 << 28)	/* HTT, in EDX */

static processor_main *volatile entry_of[MAX_PROCESSORS];

/* What they all run, how many they are, and how many have come to it and come back. */
static processor_main *together;
static uint32_t team;
static volatile uint32_t arrived, returned;

_Noreturn void processor_entry(uint32_t id)
{
	entry_of[id](id);
	halt_forever();
}

void start_processor(uint32_t id, processor_main *entry)
{
	volatile uint8_t *copy = (volatile uint8_t *)TRAMPOLINE;

	for (long offset = 0; offset < trampoline_end - trampoline; offset++)
		copy[offset] = trampoline[offset];
	entry_of[id] = entry;
	apic_send(id, APIC_INIT);
	apic_send(id, APIC_STARTUP | STARTUP_VECTOR);
}

uint32_t processors_in_package(void)
{
	struct cpuid features = cpuid(CPUID_FEATURES);

	return features.edx & SEVERAL_PROCESSORS ? features.ebx >> PROCESSORS_SHIFT & 0xff : 1;
}

static void wait_for_all(volatile uint32_t *count)
{
	__atomic_fetch_add(count, 1, __ATOMIC_SEQ_CST);
	while (*count < team)
		cpu_pause();
}

static void run_together(uint32_t id)
{
	wait_for_all(&arrived);
	together(id);
	wait_for_all(&returned);
}

void run_on_package(processor_main *entry)
{
	run_on(processors_in_package(), entry);
}

void run_on(uint32_t count, processor_main *entry)
{
	together = entry;
	team = count;
	for (uint32_t id = 1; id < team; id++)
		start_processor(id, run_together);
	run_together(0);
}
