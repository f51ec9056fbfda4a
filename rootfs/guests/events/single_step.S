/* Code to step through, and in single_steps the events that have to come: the address of each, and its vector. */
#include "provoke.h"

#define DEBUG_EXCEPTION 1
#define DELAY_PORT 0x80
#define MSR_EFER 0xc0000080
#define APIC_VERSION 0xfee00030
#define REPETITIONS 3

.macro event address, vector=DEBUG_EXCEPTION
	.pushsection .rodata
	.quad \address, \vector
	.popsection
.endm

/* An instruction that traps when it is done. */
.macro step instruction:vararg
	\instruction
.Lstep\@:
	event .Lstep\@
.endm

/* A string instruction, which traps after each repetition, and is not past itself before the last. */
.macro step_repetitions instruction:vararg
.Lrepeat\@:
	\instruction
.Lstep\@:
	.rept REPETITIONS - 1
	event .Lrepeat\@
	.endr
	event .Lstep\@
.endm

.section .rodata, "a"
.balign 8
.globl single_steps
single_steps:

.section .text, "ax"
.globl single_step_code
single_step_code:
	step nop
	step mov $1, %eax
	step cpuid
	step mov $DELAY_PORT, %edx
	step out %al, %dx
	step out %eax, $DELAY_PORT
	step in %dx, %al
	step in $DELAY_PORT, %eax
	step mov $MSR_EFER, %ecx
	step rdmsr
	step wrmsr
	step rdtsc
	step mov %cr0, %rax
	step mov %rax, %cr0
	step mov APIC_VERSION, %eax
	step pushfq
	step popfq

	step lea bytes(%rip), %rdi
	step mov $REPETITIONS, %ecx
	step_repetitions rep stosb
	step lea bytes(%rip), %rsi
	step mov $REPETITIONS, %ecx
	step mov $DELAY_PORT, %edx
	step_repetitions rep outsb

	/* A load of SS holds the trap back until after the next instruction. */
	step mov %ss, %eax
	mov %eax, %ss
	step nop

	/* INT clears TF; after the handler's IRET, the first trap comes after one more instruction. */
	int $USED_VECTOR
after_int:
	event after_int, USED_VECTOR
	step nop

	jmp forward
	nop
forward:
	event forward
	step pushfq
	step andq $~RFLAGS_TF, (%rsp)
	step popfq
	nop
	int $NOTHING_HAPPENED

.section .rodata, "a"
.globl single_steps_end
single_steps_end:

.section .bss, "aw", @nobits
bytes:
	.skip REPETITIONS
