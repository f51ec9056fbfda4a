/* The processor's own vectors, and the error code of a page fault: Intel SDM vol. 3, "Interrupt and Exception Handling". */
#pragma once

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
