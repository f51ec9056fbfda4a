#include "check.h"
#include "pic.h"
#include "process.h"
#include "program.h"
#include "serial.h"
#include "system_calls.h"

#define KERNEL_ADDRESS 0x100000
#define TOUCHED_PAGES 8
#define CODE_PAGES 1

static void expect_success(program *program, uint64_t argument, const char *what)
{
	struct outcome outcome = process_run(program, argument);

	bool right = is_equal("exited", outcome.exited, true);

	right &= is_equal("exit code", outcome.exit_code, 0);
	right &= is_equal("entered on the kernel's stack", outcome.entered_right, true);
	check(right, what);
}

struct fault {
	const char *what;
	program *program;
	uint64_t argument;
	const uint8_t *at;	/* NULL for the argument */
	uint32_t vector;
	uint64_t error_code;
	uint64_t cr2;		/* of a page fault */
};

static const struct fault faults[] = {
	{ "#GP: HLT", halt, 0, halt_at, GENERAL_PROTECTION, 0, 0 },
	{ "#GP: CLI", clear_interrupts, 0, clear_interrupts_at, GENERAL_PROTECTION, 0, 0 },
	{ "#GP: OUT", write_port, 0, write_port_at, GENERAL_PROTECTION, 0, 0 },
	{ "#GP: a write to CR3", write_cr3, 0, write_cr3_at, GENERAL_PROTECTION, 0, 0 },
	{ "#GP: WRMSR", write_msr, 0, write_msr_at, GENERAL_PROTECTION, 0, 0 },
	{ "#GP: SWAPGS", swap_gs, 0, swap_gs_at, GENERAL_PROTECTION, 0, 0 },
	{ "#GP: SYSRET", return_from_system_call, 0, return_from_system_call_at, GENERAL_PROTECTION, 0, 0 },
	{ "#UD: UD2", undefined, 0, undefined_at, INVALID_OPCODE, 0, 0 },
	{ "#DE: division by zero", divide, 0, divide_at, DIVIDE_ERROR, 0, 0 },
	{ "#BP: INT3", breakpoint, 0, breakpoint_at, BREAKPOINT, 0, 0 },
	{ "#PF: a null pointer is read", read_memory, 0, read_memory_at, PAGE_FAULT, FAULT_USER, 0 },
	{ "#PF: a null pointer is called", jump, 0, 0, PAGE_FAULT, FAULT_USER | FAULT_FETCH, 0 },
	{ "#PF: the kernel is read", read_memory, KERNEL_ADDRESS, read_memory_at, PAGE_FAULT, FAULT_PRESENT | FAULT_USER, KERNEL_ADDRESS },
	{ "#PF: the kernel is written to", write_memory, KERNEL_ADDRESS, write_memory_at, PAGE_FAULT,
	  FAULT_PRESENT | FAULT_WRITE | FAULT_USER, KERNEL_ADDRESS },
	{ "#PF: code is written to", write_memory, PROGRAM, write_memory_at, PAGE_FAULT, FAULT_PRESENT | FAULT_WRITE | FAULT_USER, PROGRAM },
	{ "#PF: data is executed", jump, HEAP, 0, PAGE_FAULT, FAULT_PRESENT | FAULT_USER | FAULT_FETCH, HEAP },
	{ "#PF: there is no stack", push_without_stack, 0, push_without_stack_at, PAGE_FAULT, FAULT_WRITE | FAULT_USER, 0ul - 8 },
};

static void expect_fault(const struct fault *fault)
{
	struct outcome outcome = process_run(fault->program, fault->argument);
	uint64_t at = fault->at ? (uint64_t)fault->at : fault->argument;

	bool right = is_equal("exited", outcome.exited, false);

	right &= is_equal("vector", outcome.fault.vector, fault->vector);
	right &= is_equal("error code", outcome.fault.error_code, fault->error_code);
	right &= is_equal("RIP", outcome.fault.rip, at);
	if (fault->vector == PAGE_FAULT)
		right &= is_equal("CR2", outcome.cr2, fault->cr2);
	right &= is_equal("entered on the kernel's stack", outcome.entered_right, true);
	check(right, fault->what);
}

static void test_demand_paging(void)
{
	struct outcome outcome = process_run(use_memory, TOUCHED_PAGES);

	check(outcome.exited && outcome.exit_code == 0, "memory is zero when it is touched first, and keeps what is written");
	check_equal(outcome.pages, 2 * TOUCHED_PAGES + CODE_PAGES, "each page was served once");
}

static void test_system_calls(void)
{
	expect_success(greet, 0, "a program prints by system calls");
	expect_success(keep_registers, 0, "SYSCALL and SYSRET keep registers and flags");
	expect_success(ask_for_nothing, 0, "a system call that does not exist is refused");
	check(calls_by_syscall && calls_by_int, "system calls came both ways");
}

_Noreturn void main(void)
{
	serial_initialize();
	interrupts_initialize();
	pic_initialize();
	processes_initialize();
	system_calls_initialize();
	test_system_calls();
	test_demand_paging();
	expect_success(own_memory, 0, "a process begins with memory of its own");
	expect_success(own_memory, 0, "the next one does not see what that wrote");
	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		expect_fault(&faults[i]);
	end_checks();
}
