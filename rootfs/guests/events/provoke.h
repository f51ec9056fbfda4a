/* Runs code that causes an event, and says what the processor made of it. */
#pragma once

#define USED_VECTOR 0x41	/* for a check's own purposes */

/* With this software interrupt, code ends that has nothing else to end it. */
#define NOTHING_HAPPENED 0xf0

#define RFLAGS_FIXED 0x00002
#define RFLAGS_ARITHMETIC 0x008d5
#define RFLAGS_TF 0x00100
#define RFLAGS_IF 0x00200
#define RFLAGS_DF 0x00400
#define RFLAGS_NT 0x04000
#define RFLAGS_RF 0x10000

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

#include "enter.h"
#include "interrupts.h"

struct event {
	struct interrupt_frame frame;
	uint64_t cr2;
	uint64_t dr6;		/* only the bits that say what happened */
	uint64_t frame_end;	/* the stack pointer from which the processor pushed the frame */
	uint64_t handler_rflags, handler_ss;
};

/* Decides whether the code goes on after an event, with the frame as it is then, or ends. */
typedef bool event_filter(struct interrupt_frame *frame, const struct event *event);

typedef void code(void);

/* Stacks of one page: for code at CPL 0 and 3, for entries from CPL 3, and two of the interrupt stack table. */
extern uint8_t kernel_stack[], user_stack[], entry_stack[], first_stack[], second_stack[];
#define STACK_SIZE 4096
#define STACK_END(stack) ((uint64_t)(stack) + STACK_SIZE)

void provoke_initialize(void);

/* Starts and runs code until the event that ends it. */
const struct event *provoke(const struct start *start);
/* The same with a filter, which sees every event first. */
const struct event *provoke_filtered(const struct start *start, event_filter *filter);

/* How code starts in 64-bit mode at CPL 0 and 3, and in compatibility mode at CPL 3. */
struct start in_kernel(code *code, uint64_t argument);
struct start in_user(code *code, uint64_t argument);
struct start in_compatibility(code *code, uint64_t argument);
#endif
