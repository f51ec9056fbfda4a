/* The way from 32-bit protected mode into 64-bit mode. */
#pragma once

#define CR0_WRITE_PROTECT (1 << 16)
#define CR0_PAGING (1 << 31)
#define CR4_PHYSICAL_ADDRESS_EXTENSION (1 << 5)

#define MSR_EFER 0xc0000080
#define EFER_LONG_MODE_ENABLE (1 << 8)
#define EFER_NO_EXECUTE_ENABLE (1 << 11)

#ifdef __ASSEMBLER__

/* Turns paging on with the 4-level tables at the physical address `page_tables`; 64-bit mode begins with the next far jump to a
   64-bit segment. Changes EAX, ECX and EDX. */
.macro enable_long_mode page_tables:vararg
	.code32
	mov $\page_tables, %eax
	mov %eax, %cr3
	mov %cr4, %eax
	or $CR4_PHYSICAL_ADDRESS_EXTENSION, %eax
	mov %eax, %cr4
	mov $MSR_EFER, %ecx
	rdmsr
	or $(EFER_LONG_MODE_ENABLE | EFER_NO_EXECUTE_ENABLE), %eax
	wrmsr
	mov %cr0, %eax
	or $(CR0_PAGING | CR0_WRITE_PROTECT), %eax
	mov %eax, %cr0
.endm

#endif
