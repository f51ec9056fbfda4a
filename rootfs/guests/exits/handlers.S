/* Handlers that do as little as there has to be done. */
#include "events.h"

#define MSR_X2APIC_END_OF_INTERRUPT 0x80b

.section .text, "ax"
.globl return_at_once, skip_invalid_opcode, skip_page_fault, end_interrupt, return_from_system_call

return_at_once:
	iretq

skip_page_fault:
	add $8, %rsp	/* the error code */
skip_invalid_opcode:
	addq $FAULTING_INSTRUCTION_LENGTH, (%rsp)
	iretq

end_interrupt:
	push %rax
	push %rcx
	push %rdx
	mov $MSR_X2APIC_END_OF_INTERRUPT, %ecx
	xor %eax, %eax
	xor %edx, %edx
	wrmsr
	pop %rdx
	pop %rcx
	pop %rax
	iretq

return_from_system_call:
	sysretq
