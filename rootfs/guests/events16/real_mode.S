/*
 * void run_in_real_mode(const struct start *): from 32-bit protected mode to real mode and back.
 *
 * Every vector comes to `record`, which notes the event and goes back to the code or to protected mode.
 */
#include "provoke.h"
#include "segment.h"

#define CODE_32 0x08
#define DATA_32 0x10
#define CODE_16 0x18
#define DATA_16 0x20

/* Offsets in struct start: two words each. */
#define IP 0
#define SP 4
#define EVENT_SHIFT 4

#define CR0_PROTECTION_ENABLE 1

#define STACK_SIZE 1024

.section .text, "ax"
.globl run_in_real_mode
run_in_real_mode:
	pushal
	mov 36(%esp), %ebx
	mov IP(%ebx), %eax	/* and FLAGS */
	mov %eax, SEGMENT_BASE + code_ip
	mov SP(%ebx), %eax	/* and GOES_ON */
	mov %eax, SEGMENT_BASE + code_sp
	mov %esp, saved_stack
	lgdt gdt_pointer
	ljmp $CODE_16, $leave_protected_mode

.section .real, "awx"
.code16
leave_protected_mode:
	mov $DATA_16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov %cr0, %eax
	and $~CR0_PROTECTION_ENABLE, %eax
	mov %eax, %cr0
	ljmp $SEGMENT, $real_mode

real_mode:
	mov %cs, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov code_sp, %sp
	lidtl vector_table_pointer
	pushw code_flags
	push %cs
	pushw code_ip
	iret

.globl record
record:
	push %bp
	mov %sp, %bp		/* there are now BP, vector, IP, CS, FLAGS */
	push %ax
	push %bx
	push %ds
	mov %cs, %ax
	mov %ax, %ds
	mov events_count, %bx
	shl $EVENT_SHIFT, %bx
	.irp field, 0, 2, 4, 6
	mov 2 + \field(%bp), %ax
	mov %ax, events + \field(%bx)
	.endr
	lea 10(%bp), %ax
	mov %ax, events + 8(%bx)
	pushf
	pop %ax
	mov %ax, events + 10(%bx)
	incw events_count

	cmpw $NOTHING_HAPPENED, 2(%bp)
	je enter_protected_mode
	cmpw $MOST_EVENTS, events_count
	je enter_protected_mode
	cmpb $0, goes_on
	je enter_protected_mode
	pop %ds
	pop %bx
	pop %ax
	pop %bp
	add $2, %sp
	iret

enter_protected_mode:
	mov %cr0, %eax
	or $CR0_PROTECTION_ENABLE, %eax
	mov %eax, %cr0
	ljmpl $CODE_32, $protected_mode

.section .text, "ax"
.code32
protected_mode:
	mov $DATA_32, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov saved_stack, %esp
	popal
	ret

.section .data, "aw"
.balign 8
gdt:
	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
	.quad 0x00009b010000ffff	/* from SEGMENT_BASE on */
	.quad 0x000093010000ffff
.balign 4
gdt_pointer:
	.word . - gdt - 1
	.long gdt

.section .bss, "aw", @nobits
.balign 4
saved_stack:
	.skip 4

.section .real
.globl vector_table_pointer
.balign 4
vector_table_pointer:
	.word 0x3ff
	.long SEGMENT_BASE + vector_table
.balign 4
code_ip:
	.skip 2
code_flags:
	.skip 2
code_sp:
	.skip 2
goes_on:
	.skip 2
.globl events_count, events
events_count:
	.skip 2
.balign 4
events:
	.skip MOST_EVENTS << EVENT_SHIFT

.balign 16
	.skip STACK_SIZE
.globl stack_end_16
stack_end_16:
