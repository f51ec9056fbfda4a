/* 16-bit gates: IP, CS, FLAGS and the error code are words. */
#include "check.h"
#include "provoke.h"
#include "segments.h"
#include "tests.h"

#define LOW_FLAGS 0xffff

extern const uint8_t code_16[], provoke_16[], provoke_16_after_int[], provoke_16_fault[], handle_int_16[], handle_fault_16[];
extern uint16_t int_frame_16[3], fault_frame_16[4];

static uint32_t offset(const uint8_t *label)
{
	return (uint32_t)(label - code_16);
}

void test_gates_16(void)
{
	struct start start = in_kernel(0, 0);

	start.eip = offset(provoke_16);
	start.cs = CODE_16;
	set_gate(USED_VECTOR, CODE_16, offset(handle_int_16), INTERRUPT_GATE_16);
	set_gate(GENERAL_PROTECTION, CODE_16, offset(handle_fault_16), INTERRUPT_GATE_16);
	provoke(&start);
	restore_gate(USED_VECTOR);
	restore_gate(GENERAL_PROTECTION);

	check_equal(int_frame_16[0], offset(provoke_16_after_int), "INT through a 16-bit gate pushes IP");
	check_equal(int_frame_16[1], CODE_16, "then CS");
	check_equal(int_frame_16[2], start.eflags & LOW_FLAGS, "and FLAGS");
	check_equal(fault_frame_16[0], BEHIND_TABLE, "#GP through a 16-bit gate pushes the error code, after the handler of INT came back");
	check_equal(fault_frame_16[1], offset(provoke_16_fault), "and IP");
	check_equal(fault_frame_16[2], CODE_16, "and CS");
}
