#include "apic.h"
#include "finish.h"
#include "print.h"
#include "processors.h"
#include "serial.h"

#define ITERATIONS 100000000
#define INSTRUCTIONS_EACH 5

/* The loop of the guest loop, for this processor's share of the iterations. */
static void work(uint32_t id)
{
	uint32_t iterations = ITERATIONS / processors_in_package(), sum = id;

	__asm__ volatile("1: add %1, %0\n\t"
			 "rol $3, %0\n\t"
			 "xor %1, %0\n\t"
			 "dec %1\n\t"
			 "jnz 1b"
			 : "+r"(sum), "+r"(iterations)
			 :
			 : "cc");
}

_Noreturn void main(void)
{
	serial_initialize();
	apic_initialize();
	print("instructions: ");
	print_decimal(ITERATIONS * INSTRUCTIONS_EACH, 1, ' ');
	print(" <");
	run_on_package(work);
	print(">\n");
	finish(0);
}
