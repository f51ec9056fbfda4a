/*
 * From 32-bit protected mode, as the boot sector leaves it, to main(information) in 64-bit mode. The first instructions are the
 * first hypercall: the VMM's answer is all that there is to know about the machine.
 */
#include "hypercalls.h"
#include "long_mode.h"
#include "segments.h"

#define STACK_SIZE 0x4000
#define PAGE_PRESENT_WRITABLE 0x3
#define LARGE_PAGE 0x83
#define LARGE_PAGE_SIZE 0x200000
#define CR4_VMX_ENABLE (1 << 13)
#define FEATURES 0x80000001
#define LONG_MODE (1 << 29)

.section .boot, "ax"
.code32
.globl _start
_start:
	mov $MEMORY_MAP, %eax
	vmcall
	mov $stack_end, %esp
	mov %ebx, %edi
	xor %eax, %eax
	cpuid
	mov $FEATURES, %eax
	cpuid
no_long_mode:
	test $LONG_MODE, %edx
	jz no_long_mode
	mov $(CR4_PHYSICAL_ADDRESS_EXTENSION | CR4_VMX_ENABLE), %eax
	mov %eax, %cr4
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
	.fill 2, 8, 0			/* task state */
gdt_end:

gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt

.balign 4096
.globl pml4
pml4:
	.quad page_directory_pointers + PAGE_PRESENT_WRITABLE
	.fill 511, 8, 0
page_directory_pointers:
	.quad page_directory + PAGE_PRESENT_WRITABLE
	.fill 511, 8, 0
page_directory:
	.rept 512
	.quad \+ * LARGE_PAGE_SIZE + LARGE_PAGE
	.endr

.section .bss, "aw", @nobits
.balign 16
stack:
	.skip STACK_SIZE
stack_end:
