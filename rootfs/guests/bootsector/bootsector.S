/* Real mode, as the firmware leaves it: at 0000:7c00 or 07c0:0000. The firmware itself is not needed. */
#include "power.h"
#include "serial.h"

#define SECTOR_SIZE 512

.section .sector, "ax"
.code16
.globl _start
_start:
	ljmp $0, $begin
begin:
	cli
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %ss
	mov $_start, %sp
	mov $text, %si
next:
	lodsb
	test %al, %al
	jz end
	call print_character
	jmp next
end:
	mov $ACPI_POWER_CONTROL, %dx
	mov $ACPI_SLEEP_ENABLE, %eax
	out %eax, %dx
	out %ax, %dx
	cli
	hlt

print_character:
	mov %al, %ah
	mov $COM1_LINE_STATUS, %dx
wait:
	in %dx, %al
	test $TRANSMITTER_EMPTY, %al
	jz wait
	mov %ah, %al
	mov $COM1, %dx
	out %al, %dx
	ret

text:
	.asciz "Hello from a boot sector, in real mode.\n"

.org SECTOR_SIZE - 2
	.byte 0x55, 0xaa
