/* Where a start-up IPI starts a processor: from real mode to processor_entry(id) in 64-bit mode. */
#include "long_mode.h"
#include "processors.h"
#include "segments.h"
#include "trampoline.h"

#define CR0_PROTECTION_ENABLE 1
#define CPUID_FEATURES 1
#define INITIAL_APIC_ID_SHIFT 24	/* in EBX */

#define STACK_SHIFT 12
#define STACK_SIZE (1 << STACK_SHIFT)

.section .rodata, "a"
.globl trampoline, trampoline_end
.code16
trampoline:
	cli
	xor %ax, %ax
	mov %ax, %ds
	lgdtl TRAMPOLINE + trampoline_gdt_pointer - trampoline
	mov %cr0, %eax
	or $CR0_PROTECTION_ENABLE, %eax
	mov %eax, %cr0
	ljmpl $KERNEL_CODE_32, $protected_mode
trampoline_gdt_pointer:
	.word KERNEL_CODE_32 + 7
	.long gdt
trampoline_end:

.section .text, "ax"
.code32
protected_mode:
	load_kernel_data_segments
	enable_long_mode pml4
	lgdt gdt_pointer
	ljmp $KERNEL_CODE, $long_mode

.code64
long_mode:
	mov $CPUID_FEATURES, %eax
	cpuid
	shr $INITIAL_APIC_ID_SHIFT, %ebx
	mov %ebx, %edi
	lea 1(%rbx), %esp
	shl $STACK_SHIFT, %esp
	add $stacks, %rsp
	xor %ebp, %ebp
	call processor_entry

.section .bss, "aw", @nobits
.balign STACK_SIZE
stacks:
	.skip MAX_PROCESSORS * STACK_SIZE
