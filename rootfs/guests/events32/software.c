/* INT n: the privilege of gates, and gates that lead nowhere. */
#include "check.h"
#include "expect.h"
#include "provocations.h"
#include "segments.h"
#include "tests.h"

#define NOT_PRESENT 0x0e
#define CALL_GATE 0x8c
#define ERROR_CODE(vector) ((vector) * 8 + 2)	/* a descriptor of the interrupt table */

static void expect_refusal(uint32_t vector, uint32_t error_code, const char *what)
{
	struct start start = in_kernel(software_interrupt, 0);

	expect(&start, (struct expected){ vector, error_code, start.eip }, what);
	restore_gate(USED_VECTOR);
}

static void test_spoiled_gates(void)
{
	idt[USED_VECTOR].type = NOT_PRESENT;
	expect_refusal(SEGMENT_NOT_PRESENT, ERROR_CODE(USED_VECTOR), "#NP: a gate that is not present");

	idt[USED_VECTOR].type = CALL_GATE;
	expect_refusal(GENERAL_PROTECTION, ERROR_CODE(USED_VECTOR), "#GP: a call gate in the interrupt table");

	idt[USED_VECTOR].selector = 0;
	expect_refusal(GENERAL_PROTECTION, 0, "#GP: a gate to the null selector");

	idt[USED_VECTOR].selector = KERNEL_DATA;
	expect_refusal(GENERAL_PROTECTION, KERNEL_DATA, "#GP: a gate to a data segment");

	idt[USED_VECTOR].selector = BEHIND_TABLE;
	expect_refusal(GENERAL_PROTECTION, BEHIND_TABLE, "#GP: a gate to a selector behind the table");
}

static void test_privilege(void)
{
	struct start start = in_user(software_interrupt, 0);

	expect(&start, (struct expected){ GENERAL_PROTECTION, ERROR_CODE(USED_VECTOR), start.eip },
	       "#GP: INT n at CPL 3 with a gate of DPL 0");
	idt[USED_VECTOR].type = INTERRUPT_GATE | GATE_FOR_USERS;
	expect(&start, (struct expected){ USED_VECTOR, 0, (uint32_t)software_interrupt_after }, "INT n at CPL 3 with a gate of DPL 3");
	idt[USED_VECTOR].type = TRAP_GATE | GATE_FOR_USERS;
	check(provoke(&start)->handler_eflags & EFLAGS_IF, "a trap gate leaves IF as it was");
	restore_gate(USED_VECTOR);
}

void test_software_interrupts(void)
{
	test_privilege();
	test_spoiled_gates();
}
