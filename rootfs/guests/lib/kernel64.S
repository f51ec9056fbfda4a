/*
 * The beginning of a 64-bit guest, by either Multiboot protocol: from the boot loader's 32-bit protected mode to
 * main(magic, information), with the first 4 GiB mapped at their physical addresses and interrupts off.
 */
#include "long_mode.h"
#include "multiboot1.h"
#include "multiboot2.h"
#include "processors.h"
#include "segments.h"

#define STACK_SIZE 0x4000
#define PAGE_PRESENT_WRITABLE 0x3
#define LARGE_PAGE 0x83
#define LARGE_PAGE_SIZE 0x200000
#define GIBIBYTES 4

.section .boot, "ax"
	multiboot1_address_header image_start, image_end, bss_end, _start
	multiboot2_header

.code32
.globl _start
_start:
	mov %eax, %edi
	mov %ebx, %esi
	enable_long_mode pml4
	lgdt gdt_pointer
	ljmp $KERNEL_CODE, $long_mode

.code64
long_mode:
	mov $KERNEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov %eax, %ss
	mov $stack_end, %esp
	xor %ebp, %ebp
	mov %edi, %edi
	mov %esi, %esi
	call main

.section .data, "aw"
.balign 16
.globl gdt
gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* KERNEL_CODE */
	.quad 0x00cf93000000ffff	/* KERNEL_DATA */
	.quad 0x00cffb000000ffff	/* USER_CODE_32 */
	.quad 0x00cff3000000ffff	/* USER_DATA */
	.quad 0x00affb000000ffff	/* USER_CODE */
	.quad 0x00cf9b000000ffff	/* KERNEL_CODE_32 */
	.quad 0				/* SPARE_SELECTOR */
	.fill 2 * MAX_PROCESSORS, 8, 0	/* task states */
gdt_end:

.globl gdt_pointer
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt

.balign 4096
.globl pml4
pml4:
	.quad page_directory_pointers + PAGE_PRESENT_WRITABLE
	.fill 511, 8, 0
page_directory_pointers:
	.rept GIBIBYTES
	.quad page_directories + \+ * 4096 + PAGE_PRESENT_WRITABLE
	.endr
	.fill 512 - GIBIBYTES, 8, 0
page_directories:
	.rept GIBIBYTES * 512
	.quad \+ * LARGE_PAGE_SIZE + LARGE_PAGE
	.endr

.section .bss, "aw", @nobits
.balign 16
stack:
	.skip STACK_SIZE
stack_end:
