/* The interrupt descriptor table of a 64-bit guest, and handlers in C. */
#pragma once
#include <stdint.h>

#define VECTORS 256

#define DIVIDE_ERROR 0
#define DEBUG_EXCEPTION 1
#define NON_MASKABLE_INTERRUPT 2
#define BREAKPOINT 3
#define OVERFLOW 4
#define BOUND_RANGE_EXCEEDED 5
#define INVALID_OPCODE 6
#define DEVICE_NOT_AVAILABLE 7
#define DOUBLE_FAULT 8
#define INVALID_TASK_STATE 10
#define SEGMENT_NOT_PRESENT 11
#define STACK_SEGMENT_FAULT 12
#define GENERAL_PROTECTION 13
#define PAGE_FAULT 14
#define X87_ERROR 16

/* The bits of a page fault's error code. */
#define FAULT_PRESENT 0x01
#define FAULT_WRITE 0x02
#define FAULT_USER 0x04
#define FAULT_RESERVED_BIT 0x08
#define FAULT_FETCH 0x10

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
