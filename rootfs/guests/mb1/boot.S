/* From the boot loader's 32-bit protected mode to main(). */
#include "banner.h"
#include "multiboot1.h"
#include "serial.h"

#define STACK_SIZE 0x4000

.section .boot, "ax"
	multiboot1_header

.globl _start
_start:
	cmp $MULTIBOOT1_BOOTLOADER_MAGIC, %eax
	jne not_multiboot1
	serial_print banner, banner_end
	mov $stack_end, %esp
	xor %ebp, %ebp
	sub $12, %esp
	push %ebx
	call main

not_multiboot1:
	serial_print not_multiboot1_text, not_multiboot1_text_end
	cli
	hlt
	jmp not_multiboot1

banner:
	.ascii BANNER
banner_end:

not_multiboot1_text:
	.ascii "panic: the boot loader is not a Multiboot 1 one\n"
not_multiboot1_text_end:

.section .bss, "aw", @nobits
.balign 16
stack:
	.skip STACK_SIZE
stack_end:
