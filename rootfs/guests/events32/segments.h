/* The segments of this guest. The order of the first four is SYSENTER's and SYSEXIT's. */
#pragma once

#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_CODE 0x1b
#define USER_DATA 0x23
#define TASK_STATE 0x28
#define FAULT_TASK 0x30		/* the task of a task gate */
#define CODE_16 0x38		/* 16-bit code, from code_16 on */
#define ABSENT 0x40		/* data, not present */
#define BEHIND_TABLE 0x7f8

#ifndef __ASSEMBLER__
#include <stdint.h>

/* The task state segment: Intel SDM vol. 3, "32-Bit Task-State Segment". */
struct task_state {
	uint32_t link, esp0, ss0, other_stacks[4];
	uint32_t cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
	uint32_t es, cs, ss, ds, fs, gs, ldt;
	uint16_t trap, permission_map;
};

/* That of all code but the fault task's. */
extern struct task_state task_state, fault_task;

void segments_initialize(void);
#endif
