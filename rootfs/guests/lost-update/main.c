/*
 * The lost update: two processors read the same value, and each writes back its own successor.
 *
 * That happens only if one of them comes in between the three instructions of the other, so an ordinary run hardly ever shows it.
 */
#include "apic.h"
#include "finish.h"
#include "print.h"
#include "processors.h"
#include "serial.h"

#define INCREMENTS 4	/* by each processor */

static uint32_t counter;

static void increment(uint32_t *value)
{
	uint32_t copy;
	__asm__ volatile("mov %1, %0\n\t"
			 "inc %0\n\t"
			 "mov %0, %1"
			 : "=&r"(copy), "+m"(*value));
}

static void work(uint32_t id)
{
	(void)id;
	for (int i = 0; i < INCREMENTS; i++)
		increment(&counter);
}

_Noreturn void main(void)
{
	serial_initialize();
	apic_initialize();
	run_on_package(work);

	uint32_t expected = INCREMENTS * processors_in_package();

	print_decimal(counter, 1, ' ');
	print(" of ");
	print_decimal(expected, 1, ' ');
	print(" increments counted\n");
	finish(counter != expected);
}
