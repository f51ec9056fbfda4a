/*
 * From 32-bit protected mode, as the boot sector leaves it, to main(information) in 64-bit mode. The first instructions are the
 * first hypercall: the VMM's answer is all that there is to know about the machine.
 */
#include "hypercalls.h"
#include "long_mode.h"
#include "segments.h"

#define STACK_SIZE 0x4000
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
	load_kernel_segments stack_end
	mov %edi, %edi
	call main

.section .data, "aw"
	global_descriptor_table 1

	identity_page_tables 1

.section .bss, "aw", @nobits
.balign 16
stack:
	.skip STACK_SIZE
stack_end:
