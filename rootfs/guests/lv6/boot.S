/*
 * From the boot loader's 32-bit protected mode to main(), in 64-bit mode. The image is loaded as it lies in the file, by the addresses
 * in its Multiboot header, which is its second word.
 */
#include "long_mode.h"
#include "lv6.h"
#include "multiboot1.h"

#define STACK_SIZE 0x4000

.section .boot, "ax"
.code32
_start:
	jmp start
	multiboot1_address_header image_start, image_end, bss_end, image_start

start:
	cmp $MULTIBOOT1_BOOTLOADER_MAGIC, %eax
	jne not_multiboot1
	enable_long_mode kernel_table
	lgdt descriptor_table_pointer
	ljmp $KERNEL_CODE, $long_mode

not_multiboot1:
	cli
	hlt
	jmp not_multiboot1

.code64
long_mode:
	mov $KERNEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	mov $stack_end, %esp
	xor %ebp, %ebp
	call main

.balign 8
descriptor_table:
	.quad 0
	.quad 0x00cf9b000000ffff	/* 32-bit code, which nothing uses */
	.quad 0x00af9b000000ffff	/* KERNEL_CODE */
	.quad 0x00cf93000000ffff	/* KERNEL_DATA */
	.quad 0x00cffb000000ffff	/* SYSRET_BASE */
	.quad 0x00cff3000000ffff	/* USER_DATA */
	.quad 0x00affb000000ffff	/* USER_CODE */
descriptor_table_end:

descriptor_table_pointer:
	.word descriptor_table_end - descriptor_table - 1
	.long descriptor_table

/* The kernel sees the first 2 MiB at their physical addresses. */
.section .kernel_table, "aw"
.balign 4096
.globl kernel_table
kernel_table:
	.quad kernel_directory_pointers + PAGE_PRESENT_WRITABLE
	.fill 511, 8, 0
kernel_directory_pointers:
	.quad kernel_directory + PAGE_PRESENT_WRITABLE
	.fill 511, 8, 0
kernel_directory:
	.quad LARGE_PAGE
	.fill 511, 8, 0

.section .bss, "aw", @nobits
.balign 16
	.skip STACK_SIZE
.globl stack_end
stack_end:

.section .program_table, "aw", @nobits
.balign 4096
.globl program_table
program_table:
	.skip 4096
