/* Each exception by itself, from CPL 0 and CPL 3. */
#include "check.h"
#include "expect.h"
#include "provocations.h"
#include "segments.h"
#include "tests.h"

#define CR0_TASK_SWITCHED 8u

struct exception {
	const char *what;
	struct start (*mode)(code *code, uint32_t argument);
	code *code;
	uint32_t argument;
	uint32_t vector, error_code;
	const uint8_t *eip;
};

static const struct exception exceptions[] = {
	{ "#DE: division by zero", in_kernel, divide_by_zero, 0, DIVIDE_ERROR, 0, divide_by_zero_at },
	{ "#DE: division by zero at CPL 3", in_user, divide_by_zero, 0, DIVIDE_ERROR, 0, divide_by_zero_at },
	{ "#BP: INT3", in_kernel, breakpoint, 0, BREAKPOINT, 0, breakpoint_after },
	{ "#BP: INT3 at CPL 3", in_user, breakpoint, 0, BREAKPOINT, 0, breakpoint_after },
	{ "#OF: INTO", in_kernel, into, 0, OVERFLOW, 0, into_after },
	{ "#OF: INTO at CPL 3", in_user, into, 0, OVERFLOW, 0, into_after },
	{ "#BR: BOUND", in_kernel, bound, 0, BOUND_RANGE_EXCEEDED, 0, bound_at },
	{ "#UD: UD2", in_kernel, undefined, 0, INVALID_OPCODE, 0, undefined_at },
	{ "#UD: UD2 at CPL 3", in_user, undefined, 0, INVALID_OPCODE, 0, undefined_at },
	{ "#NP: a data segment that is not present", in_kernel, load_data_segment, ABSENT, SEGMENT_NOT_PRESENT, ABSENT,
	  load_data_segment_at },
	{ "#SS: a stack segment that is not present", in_kernel, load_stack_segment, ABSENT, STACK_SEGMENT_FAULT, ABSENT,
	  load_stack_segment_at },
	{ "#GP: a selector behind the table", in_user, load_data_segment, BEHIND_TABLE, GENERAL_PROTECTION, BEHIND_TABLE,
	  load_data_segment_at },
	{ "#GP: the null selector for the stack", in_kernel, load_stack_segment, 0, GENERAL_PROTECTION, 0, load_stack_segment_at },
	{ "#GP: kernel data at CPL 3", in_user, load_data_segment, KERNEL_DATA, GENERAL_PROTECTION, KERNEL_DATA, load_data_segment_at },
	{ "#GP: CLI at CPL 3", in_user, disable_interrupts, 0, GENERAL_PROTECTION, 0, disable_interrupts_at },
	{ "#GP: HLT at CPL 3", in_user, halt, 0, GENERAL_PROTECTION, 0, halt_at },
	{ "#GP: a write to CR3 at CPL 3", in_user, write_control_register, 0, GENERAL_PROTECTION, 0, write_control_register_at },
};

static void test_no_coprocessor(void)
{
	struct start start = in_kernel(no_coprocessor, 0);
	uint32_t cr0;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0 | CR0_TASK_SWITCHED));
	expect(&start, (struct expected){ DEVICE_NOT_AVAILABLE, 0, (uint32_t)no_coprocessor_at },
	       "#NM: an x87 instruction while CR0.TS is set");
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0));
}

/* ESP and all of EFLAGS, for code that does nothing but fault. */
static void test_frame(void)
{
	struct start start = in_user(undefined, 0);
	start.esp -= 24;
	start.eflags |= EFLAGS_ARITHMETIC | EFLAGS_DF;
	const struct event *event = provoke(&start);

	check_equal(event->frame.esp, start.esp, "the frame from CPL 3 holds the stack pointer");
	check_equal(event->frame.eflags & ~(uint32_t)EFLAGS_RF, start.eflags, "the frame holds the flags");

	start = in_kernel(undefined, 0);
	start.esp -= 24;
	event = provoke(&start);
	check_equal(event->frame_end, start.esp, "at CPL 0 the frame is on the stack of the code");
}

void test_exceptions(void)
{
	for (unsigned i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++) {
		const struct exception *exception = &exceptions[i];
		struct start start = exception->mode(exception->code, exception->argument);
		struct expected expected = { exception->vector, exception->error_code, (uint32_t)exception->eip };

		expect(&start, expected, exception->what);
	}
	test_no_coprocessor();
	test_frame();
}
