/* Events from virtual-8086 mode: Intel SDM vol. 3, "Interrupt and Exception Handling in Virtual-8086 Mode". */
#include "check.h"
#include "expect.h"
#include "memory.h"
#include "tests.h"

#define SEGMENT 0x2000	/* of memory below 1 MiB that nothing else uses */
#define STACK_POINTER 0x800

extern const uint8_t code_8086[], divide_8086[], divide_8086_at[], halt_8086[], int_8086[], breakpoint_8086[], code_8086_end[];

static uint32_t offset(const uint8_t *label)
{
	return (uint32_t)(label - code_8086);
}

static struct start in_virtual_8086(const uint8_t *code)
{
	return (struct start){ offset(code), SEGMENT, EFLAGS_FIXED | EFLAGS_VM | EFLAGS_IF, STACK_POINTER, SEGMENT, 0 };
}

static void expect_8086(const uint8_t *code, uint32_t vector, const uint8_t *at, const char *what)
{
	struct start start = in_virtual_8086(code);

	expect(&start, (struct expected){ vector, 0, offset(at) }, what);
}

void test_virtual_8086(void)
{
	memcpy((void *)(SEGMENT << 4), code_8086, (uint32_t)(code_8086_end - code_8086));
	expect_8086(divide_8086, DIVIDE_ERROR, divide_8086_at, "#DE in virtual-8086 mode");

	struct start start = in_virtual_8086(divide_8086);
	const struct frame *frame = &provoke(&start)->frame;
	check(frame->old_es == 1 && frame->old_ds == 2 && frame->old_fs == 3 && frame->old_gs == 4, "the frame holds the data segments");
	check(!frame->es && !frame->ds && !frame->fs && !frame->gs, "the handler begins with null ones");
	check_equal(frame->esp, STACK_POINTER, "the frame holds the stack pointer");

	expect_8086(halt_8086, GENERAL_PROTECTION, halt_8086, "#GP: HLT in virtual-8086 mode");
	expect_8086(int_8086, GENERAL_PROTECTION, int_8086, "#GP: INT n in virtual-8086 mode, for IOPL is below 3");
	expect_8086(breakpoint_8086, BREAKPOINT, code_8086_end, "#BP: INT3 in virtual-8086 mode");
}
