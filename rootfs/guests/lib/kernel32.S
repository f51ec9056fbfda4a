/*
 * The beginning of a 32-bit guest, by any boot protocol that enters in flat protected mode: main(EAX, EBX), which is
 * main(magic, information) for Multiboot. Interrupts are off, and so is paging. The guest provides the header.
 */
#define STACK_SIZE 0x4000

.section .text, "ax"
.globl _start
_start:
	mov $stack_end, %esp
	xor %ebp, %ebp
	sub $8, %esp
	push %ebx
	push %eax
	call main

.section .bss, "aw", @nobits
.balign 16
stack:
	.skip STACK_SIZE
stack_end:
