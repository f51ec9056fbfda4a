/* The 64-bit task state segment: the stacks that interrupts switch to. */
#pragma once
#include <stdint.h>

struct task_state {
	uint32_t reserved;
	uint64_t kernel_stack;		/* RSP0: for interrupts from user mode */
	uint64_t other_stacks[2];
	uint64_t reserved2;
	uint64_t stack_table[7];	/* stack n of a gate is stack_table[n - 1] */
	uint64_t reserved3;
	uint16_t reserved4, permission_map;
} __attribute__((packed, aligned(8)));

/* Makes `state` that of this processor, and forbids ports to user mode in it. */
void task_state_load(uint32_t processor, struct task_state *state);
