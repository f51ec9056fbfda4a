/*
 * A boot race: the processor that boots starts another, and only then writes what that one needs. It wins nearly always where
 * processors take turns, for it has little to do, and the other has to come all the way from real mode.
 */
#include <stdbool.h>

#include "apic.h"
#include "cpu.h"
#include "finish.h"
#include "print.h"
#include "processors.h"
#include "serial.h"

#define SECOND_PROCESSOR 1
#define CLOCK_RATE 1000

static volatile uint32_t clock_rate;
static volatile bool served, too_early;

/* A real kernel would divide by the rate here. */
static void second_processor(uint32_t id)
{
	(void)id;
	too_early = clock_rate != CLOCK_RATE;
	served = true;
}

_Noreturn void main(void)
{
	serial_initialize();
	apic_initialize();
	if (processors_in_package() < 2)
		panic("this takes two processors");
	start_processor(SECOND_PROCESSOR, second_processor);
	clock_rate = CLOCK_RATE;
	while (!served)
		cpu_pause();
	print(too_early ? "the second processor came before its data\n" : "the second processor found its data\n");
	finish(too_early);
}
