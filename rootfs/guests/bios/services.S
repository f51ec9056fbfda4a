/* Calls what a BIOS has, and prints what it is told. */
#include "power.h"

#define KEY_A 0x1e61
#define SMAP 0x534d4150
#define REGION_SIZE 20
#define BUFFER 0xa000

.macro say text
	mov $9f, %si
	call print
	.section .rest.text, "a"
9:	.asciz "\text"
	.section .rest, "ax"
.endm

.macro show address
	mov \address, %eax
	call print_number
.endm

.section .rest, "ax"
.code16
.globl services
services:
	say "drive "
	movzbl boot_drive, %eax
	call print_number
	call read_mark
	call show_memory
	call show_map
	call read_key
	call wait_for_tick
	call wait_for_time
	call call_unserved
	say "\r\n"
	mov $ACPI_POWER_CONTROL, %dx
	mov $ACPI_SLEEP_ENABLE, %eax
	out %eax, %dx
	out %ax, %dx
	cli
	hlt

/* By number of the sector. */
read_mark:
	mov $packet, %si
	mov boot_drive, %dl
	mov $0x42, %ah
	int $0x13
	jc 1f
	say "\r\nsector: "
	mov $BUFFER, %si
	jmp print
1:
	say "\r\nno extensions"
	ret

show_memory:
	say "\r\nequipment "
	xor %eax, %eax
	int $0x11
	call print_number
	say ", base memory "
	xor %eax, %eax
	int $0x12
	call print_number
	say ", extended memory "
	xor %eax, %eax
	mov $0x88, %ah
	int $0x15
	call print_number
	ret

show_map:
	xor %ebx, %ebx
1:
	mov $0xe820, %eax
	mov $SMAP, %edx
	mov $REGION_SIZE, %ecx
	mov $BUFFER, %di
	int $0x15
	jc 2f
	push %ebx
	say "\r\nregion "
	show BUFFER
	say " "
	show BUFFER+8
	say " "
	show BUFFER+16
	pop %ebx
	test %ebx, %ebx
	jnz 1b
2:
	ret

read_key:
	mov $0x05, %ah
	mov $KEY_A, %cx
	int $0x16
	mov $0x01, %ah
	int $0x16
	jz 1f
	mov $0x00, %ah
	int $0x16
	movzwl %ax, %eax
	push %eax
	say "\r\nkey "
	pop %eax
	jmp print_number
1:
	say "\r\nno key"
	ret

/* The timer interrupts, and INT 1Ah counts. */
wait_for_tick:
	mov $0x00, %ah
	int $0x1a
	mov %dx, %bp
1:
	hlt
	mov $0x00, %ah
	int $0x1a
	cmp %dx, %bp
	je 1b
	say "\r\na tick"
	ret

wait_for_time:
	mov $0x86, %ah
	mov $0, %cx
	mov $1000, %dx
	int $0x15
	jc 1f
	say "\r\na millisecond"
1:
	ret

call_unserved:
	clc
	mov $0x12, %ah
	int $0x60
	jnc 1f
	say "\r\nINT 60h: carry"
1:
	ret

.balign 4
packet:
	.byte packet_end - packet, 0
	.word 1
	.word BUFFER, 0
	.long mark_sector, 0
packet_end:

.section .mark, "a"
	.asciz "this is the last one"
