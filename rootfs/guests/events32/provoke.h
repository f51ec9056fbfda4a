/* Runs code that causes an event, and says what the processor made of it. */
#pragma once

#define NOTHING_HAPPENED 0xf0	/* the software interrupt with which code ends that has nothing else to end it */
#define USED_VECTOR 0x41	/* for a check's own purposes */

#define EFLAGS_FIXED 0x00002
#define EFLAGS_ARITHMETIC 0x008d5
#define EFLAGS_TF 0x00100
#define EFLAGS_IF 0x00200
#define EFLAGS_DF 0x00400
#define EFLAGS_NT 0x04000
#define EFLAGS_RF 0x10000
#define EFLAGS_VM 0x20000

#define STACK_SIZE 4096

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

#include "vectors.h"

#define INTERRUPT_GATE 0x8e
#define TRAP_GATE 0x8f
#define TASK_GATE 0x85
#define INTERRUPT_GATE_16 0x86
#define GATE_FOR_USERS 0x60

struct gate {
	uint16_t offset_low, selector;
	uint8_t zero, type;
	uint16_t offset_high;
};

/* The state that the code starts with. */
struct start {
	uint32_t eip, cs, eflags, esp, ss;
	uint32_t argument;	/* EDI */
};

/* As interrupt_entries.S pushes it. */
struct frame {
	uint32_t gs, fs, es, ds;
	uint32_t edi, esi, ebp, unused, ebx, edx, ecx, eax;
	uint32_t vector, error_code;
	uint32_t eip, cs, eflags;
	/* Only from another privilege level. */
	uint32_t esp, ss;
	/* Only from virtual-8086 mode. */
	uint32_t old_es, old_ds, old_fs, old_gs;
};

struct event {
	struct frame frame;
	uint32_t cr2;
	uint32_t dr6;		/* only the bits that say what happened */
	uint32_t frame_end;	/* the stack pointer from which the processor pushed the frame */
	uint32_t handler_eflags, handler_ss;
};

/* Decides whether the code goes on after an event, with the frame as it is then, or ends. */
typedef bool event_filter(struct frame *frame, const struct event *event);

typedef void code(void);

extern struct gate idt[VECTORS];

/* Stacks of one page: for code at CPL 0 and 3, and for entries from CPL 3. */
extern uint8_t kernel_stack[], user_stack[], entry_stack[];
#define STACK_END(stack) ((uint32_t)(stack) + STACK_SIZE)

void provoke_initialize(void);

/* Starts and runs code until the event that ends it. */
const struct event *provoke(const struct start *start);
/* The same with a filter, which sees every event first. */
const struct event *provoke_filtered(const struct start *start, event_filter *filter);

struct start in_kernel(code *code, uint32_t argument);
struct start in_user(code *code, uint32_t argument);

void set_gate(uint8_t vector, uint16_t selector, uint32_t offset, uint8_t type);
/* The gate that every vector begins with. */
void restore_gate(uint8_t vector);
#endif
