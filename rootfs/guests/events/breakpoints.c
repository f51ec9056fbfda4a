/* Debug registers: Intel SDM vol. 3, "Debug Registers". */
#include "check.h"
#include "expect.h"
#include "provocations.h"
#include "tests.h"

#define DR6_BREAKPOINT(number) (1ul << (number))

#define DR7_FIXED 0x400ul
#define DR7_ENABLE(number) (1ul << 2 * (number))
#define DR7_CONDITION(number, condition) ((uint64_t)(condition) << (16 + 4 * (number)))

#define ON_EXECUTION 0x0

static void set_dr7(uint64_t value)
{
	__asm__ volatile("mov %0, %%dr7" : : "r"(DR7_FIXED | value));
}

void test_breakpoints(void)
{
	struct start start = in_kernel(undefined, 0);

	__asm__ volatile("mov %0, %%dr0" : : "r"((uint64_t)undefined_at));
	set_dr7(DR7_ENABLE(0) | DR7_CONDITION(0, ON_EXECUTION));
	const struct event *event = provoke(&start);

	expect_this(event, &start, (struct expected){ DEBUG_EXCEPTION, 0, (uint64_t)undefined_at },
		    "#DB: before the instruction that DR0 holds");
	check_equal(event->dr6, DR6_BREAKPOINT(0), "DR6 says why");

	start.rflags |= RFLAGS_RF;
	check_equal(provoke(&start)->frame.vector, INVALID_OPCODE, "RF lets the instruction run");
	set_dr7(0);
}
