#include "subsystems.h"

#define START_SIZE 6	/* of MOV and RET; the same bytes in 32-bit and in 64-bit code */
#define INT3 0xcc

.section .text.subsystems, "ax"
.globl subsystem_codes
subsystem_codes:

.section .rodata.subsystems, "a"
.balign 4
.globl subsystem_tables
subsystem_tables:

.section .data.subsystems, "aw"
.balign 4
.globl subsystem_states
subsystem_states:

.set number, 0
.rept SUBSYSTEMS
.set word, SUBSYSTEM_WORD(number)

.section .text.subsystems
subsystem_\+:
	mov $word, %eax
	ret
	.fill CODE_SIZE - START_SIZE, 1, INT3

.section .rodata.subsystems
	.fill TABLE_SIZE / 4, 4, word

.section .data.subsystems
	.fill STATE_SIZE / 4, 4, word

.set number, number + 1
.endr
