#include "wait.h"
#include "cpu.h"

#define RELAXATION 250	/* rounds of a few instructions */

volatile uint32_t interrupts;

void reset_interrupts(void)
{
	interrupts = 0;
}

void halt_until(uint32_t count)
{
	/* STI takes effect after HLT has begun: no interrupt can come between the question and the sleep. */
	while (interrupts < count)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
}

void allow_interrupts(void)
{
	__asm__ volatile("sti; nop; nop; cli" : : : "memory");
}

void relax(void)
{
	for (volatile int i = 0; i < RELAXATION; i++)
		;
}

void spin(uint32_t nanoseconds)
{
	uint64_t start = rdtsc();

	while (rdtsc() - start < nanoseconds)
		relax();
}
