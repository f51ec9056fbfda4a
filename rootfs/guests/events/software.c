/* INT n: every vector, the privilege of gates, and gates that lead nowhere. */
#include "check.h"
#include "expect.h"
#include "segments.h"
#include "tests.h"

#define INT 0xcd
#define INT_LENGTH 2
#define NOT_PRESENT 0x0e
#define CALL_GATE 0x8c

#define ERROR_CODE(vector) ((vector) * 8 + 2)	/* a descriptor of the interrupt table */

extern const uint8_t software_entries[VECTORS][ENTRY_SPACING];

/* An INT n, and the end: it is written anew for each vector, as code that modifies itself. */
extern uint8_t written_code[];

static struct start write_int(struct start (*mode)(code *code, uint64_t argument), uint8_t vector)
{
	written_code[0] = INT;
	written_code[1] = vector;
	written_code[2] = INT;
	written_code[3] = NOTHING_HAPPENED;
	return mode((code *)(uintptr_t)written_code, 0);
}

static void restore_gate(uint8_t vector)
{
	set_gate(vector, interrupt_entries[vector], INTERRUPT_GATE, 0);
}

static bool arrives_without_error_code(uint8_t vector)
{
	set_gate(vector, software_entries[vector], INTERRUPT_GATE, 0);

	struct start start = write_int(in_kernel, vector);
	const struct event *event = provoke(&start);

	restore_gate(vector);
	return event->frame.vector == vector && event->frame.rip == start.rip + INT_LENGTH && event->frame.ss == start.ss;
}

static void test_every_vector(void)
{
	uint32_t arrived = 0;

	for (uint32_t vector = 0; vector < NOTHING_HAPPENED; vector++)
		arrived += arrives_without_error_code((uint8_t)vector);
	check_equal(arrived, NOTHING_HAPPENED, "INT n arrives at vector n, without an error code");
}

static void test_privilege(void)
{
	struct start start = write_int(in_user, USED_VECTOR);

	expect(&start, (struct expected){ GENERAL_PROTECTION, ERROR_CODE(USED_VECTOR), start.rip }, "#GP: INT n at CPL 3 with a gate of DPL 0");
	set_gate(USED_VECTOR, interrupt_entries[USED_VECTOR], INTERRUPT_GATE | GATE_FOR_USERS, 0);
	expect(&start, (struct expected){ USED_VECTOR, 0, start.rip + INT_LENGTH }, "INT n at CPL 3 with a gate of DPL 3");
	restore_gate(USED_VECTOR);
}

/* INT n through a gate that was spoiled, at the instruction that it has to go back to. */
static void expect_refusal(uint32_t vector, uint64_t error_code, const char *what)
{
	struct start start = write_int(in_kernel, USED_VECTOR);

	expect(&start, (struct expected){ vector, error_code, start.rip }, what);
	restore_gate(USED_VECTOR);
}

static void test_spoiled_gates(void)
{
	set_gate(USED_VECTOR, interrupt_entries[USED_VECTOR], NOT_PRESENT, 0);
	expect_refusal(SEGMENT_NOT_PRESENT, ERROR_CODE(USED_VECTOR), "#NP: a gate that is not present");

	set_gate(USED_VECTOR, interrupt_entries[USED_VECTOR], CALL_GATE, 0);
	expect_refusal(GENERAL_PROTECTION, ERROR_CODE(USED_VECTOR), "#GP: a call gate in the interrupt table");

	idt[USED_VECTOR].selector = 0;
	expect_refusal(GENERAL_PROTECTION, 0, "#GP: a gate to the null selector");

	idt[USED_VECTOR].selector = KERNEL_DATA;
	expect_refusal(GENERAL_PROTECTION, KERNEL_DATA, "#GP: a gate to a data segment");

	idt[USED_VECTOR].selector = KERNEL_CODE_32;
	expect_refusal(GENERAL_PROTECTION, KERNEL_CODE_32, "#GP: a gate to a code segment of 32 bits");

	idt[USED_VECTOR].selector = BEHIND_TABLE;
	expect_refusal(GENERAL_PROTECTION, BEHIND_TABLE, "#GP: a gate to a selector behind the table");
}

static void load_idt(uint16_t limit)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { limit, (uint64_t)idt };

	__asm__ volatile("lidt %0" : : "m"(pointer));
}

static void test_limit(void)
{
	load_idt(USED_VECTOR * sizeof(struct gate) + sizeof(struct gate) - 2);
	expect_refusal(GENERAL_PROTECTION, ERROR_CODE(USED_VECTOR), "#GP: a gate that ends behind the interrupt table");
	interrupts_load();
}

static void test_trap_gate(void)
{
	struct start start = write_int(in_user, USED_VECTOR);

	set_gate(USED_VECTOR, interrupt_entries[USED_VECTOR], TRAP_GATE | GATE_FOR_USERS, 0);
	check(provoke(&start)->handler_rflags & RFLAGS_IF, "a trap gate leaves IF as it was");
	restore_gate(USED_VECTOR);
}

void test_software_interrupts(void)
{
	test_every_vector();
	test_privilege();
	test_spoiled_gates();
	test_limit();
	test_trap_gate();
}
