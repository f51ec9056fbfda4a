/* A call by SYSENTER from CPL 3, its entry in the kernel, and the way back by SYSEXIT. */
#include "provoke.h"

#define MARK 0x5e5e5e5e

.section .text, "ax"
.globl call_by_sysenter
call_by_sysenter:
	mov %esp, %ecx
	mov $back, %edx
	stc
	sysenter
	ud2
back:
	cmp $MARK, %eax
	jne wrong
	int $NOTHING_HAPPENED
wrong:
	ud2

.globl sysenter_entry
sysenter_entry:
	mov %esp, entered_esp
	pushf
	pop entered_eflags
	mov %cs, entered_cs
	mov %ss, entered_ss
	mov $MARK, %eax
	sti
	sysexit

.section .bss, "aw", @nobits
.balign 4
.globl entered_esp, entered_eflags, entered_cs, entered_ss
entered_esp:
	.skip 4
entered_eflags:
	.skip 4
entered_cs:
	.skip 4
entered_ss:
	.skip 4
