/* The interrupt descriptor table of a 64-bit guest, and handlers in C. */
#pragma once
#include <stdint.h>

#include "vectors.h"

#define INTERRUPT_GATE 0x8e
#define TRAP_GATE 0x8f
#define GATE_FOR_USERS 0x60	/* DPL 3: software may use it with INT */

struct gate {
	uint16_t offset_low, selector;
	uint8_t stack_table, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

/* What the processor pushes, the vector, and the registers of the code that was interrupted. */
struct interrupt_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error_code;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* May change the frame: that is what the processor goes on with. */
typedef void interrupt_handler(struct interrupt_frame *frame);

#define ENTRY_SPACING 16
extern const uint8_t interrupt_entries[VECTORS][ENTRY_SPACING];

extern struct gate idt[VECTORS];

/* Fills the table with interrupt gates and loads it; without a handler, an interrupt is reported and ends the guest. */
void interrupts_initialize(void);
/* Loads the table on another processor. */
void interrupts_load(void);
void set_interrupt_handler(uint8_t vector, interrupt_handler *handler);
/* `stack_table` is the number of the stack in the interrupt stack table, 0 for none. */
void set_gate(uint8_t vector, const void *entry, uint8_t type, uint8_t stack_table);
