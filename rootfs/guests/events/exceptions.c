/* Each exception by itself, from CPL 0, from CPL 3 and from compatibility mode. */
#include "check.h"
#include "cpu.h"
#include "expect.h"
#include "provocations.h"
#include "segments.h"
#include "tests.h"

#define NOT_PRESENT_DATA 0x004013000000ffff
#define RESERVED_MSR 0x3fffffff

#define CR0_TASK_SWITCHED 0x8ul
#define CR0_NUMERIC_ERROR 0x20ul

extern uint64_t gdt[];

struct exception {
	const char *what;
	struct start (*mode)(code *code, uint64_t argument);
	code *code;
	uint64_t argument;
	struct expected expected;
};

#define AT(name) (uint64_t)name##_at
#define AFTER(name) (uint64_t)name##_after

static const struct exception exceptions[] = {
	{ "#DE: division by zero", in_kernel, divide_by_zero, 0, { DIVIDE_ERROR, 0, AT(divide_by_zero) } },
	{ "#DE: a quotient too large, at CPL 3", in_user, divide_overflow, 0, { DIVIDE_ERROR, 0, AT(divide_overflow) } },
	{ "#BP: INT3", in_kernel, breakpoint, 0, { BREAKPOINT, 0, AFTER(breakpoint) } },
	{ "#OF: INT 4", in_kernel, overflow, 0, { OVERFLOW, 0, AFTER(overflow) } },
	{ "#UD: UD2", in_kernel, undefined, 0, { INVALID_OPCODE, 0, AT(undefined) } },
	{ "#UD: UD2 at CPL 3", in_user, undefined, 0, { INVALID_OPCODE, 0, AT(undefined) } },
	{ "#UD: LOCK before NOP", in_kernel, lock_of_nop, 0, { INVALID_OPCODE, 0, AT(lock_of_nop) } },
	{ "#UD: SYSCALL without EFER.SCE", in_user, system_call, 0, { INVALID_OPCODE, 0, AT(system_call) } },
	{ "#NP: a data segment that is not present", in_kernel, load_data_segment, SPARE_SELECTOR,
	  { SEGMENT_NOT_PRESENT, SPARE_SELECTOR, AT(load_data_segment) } },
	{ "#SS: a stack segment that is not present", in_kernel, load_stack_segment, SPARE_SELECTOR,
	  { STACK_SEGMENT_FAULT, SPARE_SELECTOR, AT(load_stack_segment) } },
	{ "#GP: a selector behind the table", in_kernel, load_data_segment, BEHIND_TABLE,
	  { GENERAL_PROTECTION, BEHIND_TABLE, AT(load_data_segment) } },
	{ "#GP: the stack segment of a lower privilege", in_kernel, load_stack_segment, USER_DATA,
	  { GENERAL_PROTECTION, USER_DATA & ~3, AT(load_stack_segment) } },
	{ "#GP: kernel data at CPL 3", in_user, load_data_segment, KERNEL_DATA,
	  { GENERAL_PROTECTION, KERNEL_DATA, AT(load_data_segment) } },
	{ "#GP: an address that is not canonical", in_kernel, read_not_canonical, 0, { GENERAL_PROTECTION, 0, AT(read_not_canonical) } },
	{ "#GP: IRETQ with NT set", in_kernel, return_from_nested_task, 0, { GENERAL_PROTECTION, 0, AT(return_from_nested_task) } },
	{ "#GP: a write to CR3 at CPL 3", in_user, write_control_register, 0, { GENERAL_PROTECTION, 0, AT(write_control_register) } },
	{ "#GP: a write to DR7 at CPL 3", in_user, write_debug_register, 0, { GENERAL_PROTECTION, 0, AT(write_debug_register) } },
	{ "#GP: CLI at CPL 3", in_user, disable_interrupts, 0, { GENERAL_PROTECTION, 0, AT(disable_interrupts) } },
	{ "#GP: HLT at CPL 3", in_user, halt, 0, { GENERAL_PROTECTION, 0, AT(halt) } },
	{ "#GP: IN at CPL 3", in_user, read_port, 0, { GENERAL_PROTECTION, 0, AT(read_port) } },
	{ "#GP: RDMSR at CPL 3", in_user, read_msr, 0, { GENERAL_PROTECTION, 0, AT(read_msr) } },
	{ "#OF: INTO in compatibility mode", in_compatibility, into_32, 0, { OVERFLOW, 0, AFTER(into_32) } },
	{ "#BR: BOUND in compatibility mode", in_compatibility, bound_32, 0, { BOUND_RANGE_EXCEEDED, 0, AT(bound_32) } },
	{ "#UD: UD2 in compatibility mode", in_compatibility, undefined_32, 0, { INVALID_OPCODE, 0, AT(undefined_32) } },
};

static void set_cr0(uint64_t set, uint64_t clear)
{
	uint64_t cr0;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %0, %%cr0" : : "r"((cr0 | set) & ~clear));
}

static void test_coprocessor(void)
{
	struct start start = in_kernel(no_coprocessor, 0);

	set_cr0(CR0_TASK_SWITCHED, 0);
	expect(&start, (struct expected){ DEVICE_NOT_AVAILABLE, 0, AT(no_coprocessor) }, "#NM: an x87 instruction while CR0.TS is set");
	set_cr0(CR0_NUMERIC_ERROR, CR0_TASK_SWITCHED);
	start = in_kernel(coprocessor_error, 0);
	expect(&start, (struct expected){ X87_ERROR, 0, AT(coprocessor_error) }, "#MF: FWAIT after an x87 exception that is not masked");
}

static void test_msr(void)
{
	static const char what[] = "#GP: a write to an MSR that does not exist";
	struct start start = in_kernel(write_msr, RESERVED_MSR);

	if (is_kvm())
		expect(&start, (struct expected){ GENERAL_PROTECTION, 0, AT(write_msr) }, what);
	else
		skip(what, "QEMU's emulated processor ignores it");
}

/* RSP, SS and all of RFLAGS, for code that does nothing but fault. */
static void test_frame(struct start start, const char *what)
{
	start.rflags |= RFLAGS_ARITHMETIC | RFLAGS_DF | RFLAGS_IF;
	start.rsp -= 24;
	const struct event *event = provoke(&start);

	check_equal(event->frame.rsp, start.rsp, "the frame holds the stack pointer");
	check_equal(event->frame.rflags & ~(uint64_t)RFLAGS_RF, start.rflags, "the frame holds the flags");
	check_equal(event->frame.ss, start.ss, what);
}

void test_exceptions(void)
{
	gdt[SPARE_SELECTOR / 8] = NOT_PRESENT_DATA;
	for (unsigned i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++) {
		const struct exception *exception = &exceptions[i];
		struct start start = exception->mode(exception->code, exception->argument);

		expect(&start, exception->expected, exception->what);
	}
	test_coprocessor();
	test_msr();
	test_frame(in_kernel(undefined, 0), "the frame holds the stack segment at CPL 0");
	test_frame(in_user(undefined, 0), "the frame holds the stack segment at CPL 3");
	test_frame(in_compatibility(undefined_32, 0), "the frame holds the stack segment of compatibility mode");
}
