#include "task_state.h"
#include "segments.h"

#define AVAILABLE_TASK_STATE 0x89

extern uint64_t gdt[];

void task_state_load(uint32_t processor, struct task_state *state)
{
	uint16_t selector = (uint16_t)TASK_STATE(processor);
	uint64_t *descriptor = &gdt[selector / 8];
	uint64_t base = (uint64_t)state;

	state->permission_map = sizeof(*state);
	descriptor[0] = (sizeof(*state) - 1) | (base & 0xffffff) << 16 | (uint64_t)AVAILABLE_TASK_STATE << 40 | (base >> 24 & 0xff) << 56;
	descriptor[1] = base >> 32;
	__asm__ volatile("ltr %0" : : "r"(selector));
}
