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
	load_kernel_segments stack_end
	mov %edi, %edi
	mov %esi, %esi
	call main

.section .data, "aw"
	global_descriptor_table MAX_PROCESSORS

	identity_page_tables GIBIBYTES

.section .bss, "aw", @nobits
.balign 16
stack:
	.skip STACK_SIZE
stack_end:
