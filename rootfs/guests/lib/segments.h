/* Selectors of the global descriptor table of 64-bit guests. The order of the user segments is SYSRET's. */
#pragma once

#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_CODE_32 0x1b
#define USER_DATA 0x23
#define USER_CODE 0x2b
#define KERNEL_CODE_32 0x30
#define SPARE_SELECTOR 0x38	/* for a guest's own experiments */
#define TASK_STATE(processor) (0x40 + 16 * (processor))
#define BEHIND_TABLE 0x7f8	/* where no descriptor is any more */

#ifdef __ASSEMBLER__

/* The table, with room for the task states of so many processors, and the pointer to it for LGDT. */
.macro global_descriptor_table processors:vararg
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
	.fill 2 * \processors, 8, 0	/* task states */
gdt_end:

.globl gdt_pointer
gdt_pointer:
	.word gdt_end - gdt - 1
	.long gdt
.endm

/* All segments but CS. Changes EAX. */
.macro load_kernel_data_segments
	mov $KERNEL_DATA, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %fs
	mov %eax, %gs
	mov %eax, %ss
.endm

/* In 64-bit code: these, and the stack, which ends at `stack`. Changes EAX. */
.macro load_kernel_segments stack
	load_kernel_data_segments
	mov $\stack, %esp
	xor %ebp, %ebp
.endm

#endif
