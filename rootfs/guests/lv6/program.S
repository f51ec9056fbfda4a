/* The program, which runs at PROGRAM without a stack: it says hey and bye. */
#include "lv6.h"

.section .program, "ax"
.balign 4096
.globl program_page
program_page:
	mov $481, %edi
	mov $HEY, %eax
	SYSTEM_CALL
	mov $451, %edi
	mov $BYE, %eax
	SYSTEM_CALL
1:	jmp 1b
.balign 4096
