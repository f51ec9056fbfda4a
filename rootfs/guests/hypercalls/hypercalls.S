#include "hypercall.h"
#include "multiboot2.h"

#define EXIT_CODE 42

.section .boot, "ax"
	multiboot2_header

.code32
.globl _start
_start:
	mov $HYPERCALL_PRINT, %eax
	mov $text, %edi
	mov $text_end - text, %esi
	vmcall
	mov $HYPERCALL_EXIT, %eax
	mov $EXIT_CODE, %edi
	vmcall

text:
	.ascii "printed by a hypercall\n"
text_end:
