/* Real mode, as the VM entry of JOS-vmx leaves it: at 0000:7c00, every general register 0, DL and SP too. */
#include "serial.h"

#define SECTOR_SIZE 512
#define INSIDE_LEAF 0xfeedcafe
#define INSIDE 0xdeadbeef
#define VM_EXIT_PORT 0x501		/* QEMU's isa-debug-exit, by default */

.section .sector, "ax"
.code16
.globl _start
_start:
	or %ebx, %eax
	or %ecx, %eax
	or %edx, %eax
	or %esi, %eax
	or %edi, %eax
	or %ebp, %eax
	or %esp, %eax
	mov $_start, %sp
	mov %eax, %ebp
	mov $registers, %si
	call print
	mov %ebp, %eax
	call print_number
	mov %ebp, %edi

	mov $INSIDE_LEAF, %eax
	mov $0x11111111, %ebx
	mov $0x22222222, %ecx
	mov $0x33333333, %edx
	cpuid
	mov %eax, %ebp
	xor $INSIDE, %eax
	xor $0x11111111, %ebx
	xor $0x22222222, %ecx
	xor $0x33333333, %edx
	or %eax, %edi
	or %ebx, %edi
	or %ecx, %edi
	or %edx, %edi
	mov $leaf, %si
	call print
	mov %ebp, %eax
	call print_number

	xor %eax, %eax
	test %edi, %edi
	setnz %al
	mov $VM_EXIT_PORT, %dx
	out %al, %dx
	cli
	hlt

/* The text at SI. */
print:
	lodsb
	test %al, %al
	jz 1f
	call print_character
	jmp print
1:	ret

/* EAX, as hexadecimal digits, and the end of the line. */
print_number:
	mov %eax, %ebx
	mov $8, %cx
next_digit:
	rol $4, %ebx
	mov %bl, %al
	and $15, %al
	add $'0', %al
	cmp $'9', %al
	jbe 1f
	add $'a' - '9' - 1, %al
1:	call print_character
	loop next_digit
	mov $'\n', %al

print_character:
	mov %al, %ah
	mov $COM1_LINE_STATUS, %dx
1:	in %dx, %al
	test $TRANSMITTER_EMPTY, %al
	jz 1b
	mov %ah, %al
	mov $COM1, %dx
	out %al, %dx
	ret

registers:
	.asciz "registers at entry: "
leaf:
	.asciz "CPUID leaf feedcafe: "

.org SECTOR_SIZE - 2
	.byte 0x55, 0xaa
