/* What runs at CPL 3, without a stack. EDI: how often. A count is no address that CPL 3 may read. */
#include "events.h"

.macro user_loop name, instruction:vararg
.globl \name
\name:
	mov %edi, %ebx
.Lnext\@:
	\instruction
	dec %ebx
	jnz .Lnext\@
	int $LEAVE_VECTOR
.endm

.section .user, "ax"
.globl user_code, user_code_end
user_code:
	user_loop user_system_call, syscall
	user_loop user_int, int $USER_VECTOR
	user_loop user_page_fault, mov (%rdi), %al
user_code_end:
