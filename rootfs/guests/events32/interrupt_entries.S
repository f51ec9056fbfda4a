/* One entry point for each vector, 16 bytes apart. Each completes a struct frame: the error code is 0 where the processor pushes none. */
#include "segments.h"

#define HAS_ERROR_CODE(vector) ((vector) < 32 && (0x60227d00 >> ((vector) & 31) & 1))

.section .text, "ax"
.balign 16
.globl interrupt_entries
interrupt_entries:
.rept 256
	.balign 16
	.if !HAS_ERROR_CODE(\+)
	push $0
	.endif
	push $\+
	jmp handle
.endr

handle:
	pushal
	.irp segment, ds, es, fs, gs
	push %\segment
	.endr
	mov $KERNEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	cld
	push %esp
	call handle_event
	add $4, %esp
	.irp segment, gs, fs, es, ds
	pop %\segment
	.endr
	popal
	add $8, %esp
	iret
