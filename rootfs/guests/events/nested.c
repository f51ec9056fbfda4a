/* Events while an event is delivered: Intel SDM vol. 3, "Interrupt 8 - Double Fault Exception". */
#include "check.h"
#include "expect.h"
#include "page_tables.h"
#include "provocations.h"
#include "tests.h"

#define WINDOW 0x40000000ul	/* absent while these checks run */
#define NOT_PRESENT 0x0e
#define EXTERNAL 1		/* the error code's bit for what no instruction of the program asked for */
#define IN_INTERRUPT_TABLE 2

static uint8_t stack_frame[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

/* A stack whose page, below the stack pointer, is absent. */
static struct start without_stack(code *code, uint64_t argument)
{
	struct start start = in_kernel(code, argument);

	start.rsp = WINDOW + PAGE_SIZE;
	return start;
}

static void spoil_gate(uint8_t vector)
{
	idt[vector].type = NOT_PRESENT;
}

static void restore_gate(uint8_t vector)
{
	idt[vector].type = INTERRUPT_GATE;
}

static void expect_double_fault(const struct start *start, const char *what)
{
	expect(start, (struct expected){ DOUBLE_FAULT, 0, ANY_ADDRESS }, what);
}

/* Faults of one instruction that are handled one after the other. */
static void test_serial(void)
{
	struct start start = in_kernel(undefined, 0);

	spoil_gate(INVALID_OPCODE);
	expect(&start,
	       (struct expected){ SEGMENT_NOT_PRESENT, INVALID_OPCODE * 8 | IN_INTERRUPT_TABLE | EXTERNAL, (uint64_t)undefined_at },
	       "#UD, then #NP: the gate is not present");
	restore_gate(INVALID_OPCODE);
}

static uint32_t page_faults;
static uint64_t fault_address;

static bool map_stack(struct interrupt_frame *frame, const struct event *event)
{
	if (frame->vector != PAGE_FAULT)
		return false;
	page_faults++;
	fault_address = event->cr2;
	set_page(event->cr2 & ~(PAGE_SIZE - 1), (uint64_t)stack_frame | PAGE_PRESENT | PAGE_WRITABLE);
	return true;
}

static void test_stack_fault(code *code, struct expected expected, const char *what)
{
	struct start start = without_stack(code, 0);

	set_page(WINDOW, 0);
	page_faults = 0;
	const struct event *event = provoke_filtered(&start, map_stack);

	expect_this(event, &start, expected, what);
	check_equal(page_faults, 1, "there was one page fault");
	check_equal(fault_address, start.rsp - 8, "CR2 holds the address of the first push");
}

static void test_page_fault_during_delivery(void)
{
	idt[PAGE_FAULT].stack_table = 1;
	test_stack_fault(undefined, (struct expected){ INVALID_OPCODE, 0, (uint64_t)undefined_at }, "#UD, then #PF on its stack");
	test_stack_fault(divide_by_zero, (struct expected){ DIVIDE_ERROR, 0, (uint64_t)divide_by_zero_at }, "#DE, then #PF on its stack");
	test_stack_fault(breakpoint, (struct expected){ BREAKPOINT, 0, (uint64_t)breakpoint_after }, "INT3, then #PF on its stack");
	test_stack_fault(read_not_canonical, (struct expected){ GENERAL_PROTECTION, 0, (uint64_t)read_not_canonical_at },
			 "#GP, then #PF on its stack");
	idt[PAGE_FAULT].stack_table = 0;
}

static void test_double_faults(void)
{
	struct start start = without_stack(undefined, 0);

	idt[DOUBLE_FAULT].stack_table = 2;
	set_page(WINDOW, 0);
	expect_double_fault(&start, "#DF: #PF while #PF is delivered, for want of a stack");

	start = in_kernel(read_memory, WINDOW);
	spoil_gate(PAGE_FAULT);
	expect_double_fault(&start, "#DF: #NP while #PF is delivered");
	start = in_user(read_memory, WINDOW);
	expect_double_fault(&start, "#DF: #NP while #PF from CPL 3 is delivered");
	restore_gate(PAGE_FAULT);

	start = in_kernel(read_not_canonical, 0);
	spoil_gate(GENERAL_PROTECTION);
	expect_double_fault(&start, "#DF: #NP while #GP is delivered");
	restore_gate(GENERAL_PROTECTION);

	start = in_kernel(divide_by_zero, 0);
	spoil_gate(DIVIDE_ERROR);
	expect_double_fault(&start, "#DF: #NP while #DE is delivered");
	restore_gate(DIVIDE_ERROR);
	idt[DOUBLE_FAULT].stack_table = 0;
}

/* The gates still work one after the other: nothing of an earlier event is left over. */
static void test_faults_in_sequence(void)
{
	struct start start = in_kernel(read_memory, WINDOW);
	uint32_t right = 0;

	for (int i = 0; i < 3; i++)
		right += provoke(&start)->frame.vector == PAGE_FAULT;
	check_equal(right, 3, "page faults one after the other are no double fault");
}

static void test_interrupt_stack(void)
{
	struct start start = in_kernel(undefined, 0);

	idt[INVALID_OPCODE].stack_table = 1;
	expect(&start, (struct expected){ INVALID_OPCODE, 0, (uint64_t)undefined_at }, "#UD at CPL 0 on a stack of its own");
	start = in_user(undefined, 0);
	expect(&start, (struct expected){ INVALID_OPCODE, 0, (uint64_t)undefined_at }, "#UD at CPL 3 on a stack of its own");
	idt[INVALID_OPCODE].stack_table = 0;
}

void test_nested_events(void)
{
	test_interrupt_stack();
	test_serial();
	test_page_fault_during_delivery();
	test_double_faults();
	test_faults_in_sequence();
	set_page(WINDOW, WINDOW | PAGE_PRESENT | PAGE_WRITABLE);
}
