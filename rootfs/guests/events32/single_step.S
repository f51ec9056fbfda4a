/* Code to step through, and in single_steps the addresses at which a trap has to come. */
#include "provoke.h"

#define DELAY_PORT 0x80
#define REPETITIONS 3

.macro trap address
	.pushsection .rodata
	.long \address
	.popsection
.endm

/* An instruction that traps when it is done. */
.macro step instruction:vararg
	\instruction
.Lstep\@:
	trap .Lstep\@
.endm

.section .rodata, "a"
.balign 4
.globl single_steps
single_steps:

.section .text, "ax"
.globl single_step_code
single_step_code:
	step nop
	step mov $1, %eax
	step cpuid
	step out %al, $DELAY_PORT
	step in $DELAY_PORT, %al
	step pushf
	step popf
	step mov %cr0, %eax
	step mov %eax, %cr0

	step mov $bytes, %edi
	step mov $REPETITIONS, %ecx
repeat:
	rep stosb
	trap repeat
	trap repeat
after_repeat:
	trap after_repeat

	/* A load of SS holds the trap back until after the next instruction. */
	step mov %ss, %eax
	mov %eax, %ss
	step nop

	step pushf
	step andl $~EFLAGS_TF, (%esp)
	step popf
	nop
	int $NOTHING_HAPPENED

.section .rodata, "a"
.globl single_steps_end
single_steps_end:

.section .bss, "aw", @nobits
bytes:
	.skip REPETITIONS
