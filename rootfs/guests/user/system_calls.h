/* The system calls: number in RAX, arguments in RDI and RSI, result in RAX. By SYSCALL, or by INT 0x80. */
#pragma once

#define SYSTEM_CALL_VECTOR 0x80

#define EXIT 0	/* RDI: exit code */
#define WRITE 1	/* RDI: text, RSI: its length; returns the length */
#define PROCESS 2	/* returns the number of the process */

#ifndef __ASSEMBLER__
#include <stdint.h>

/* How often system calls came each way. */
extern uint32_t calls_by_syscall, calls_by_int;

void system_calls_initialize(void);
#endif
