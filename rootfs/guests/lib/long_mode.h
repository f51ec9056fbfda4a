/* The way from 32-bit protected mode into 64-bit mode. */
#pragma once

#define CR0_WRITE_PROTECT (1 << 16)
#define CR0_PAGING (1 << 31)
#define CR4_PHYSICAL_ADDRESS_EXTENSION (1 << 5)

#define MSR_EFER 0xc0000080
#define EFER_LONG_MODE_ENABLE (1 << 8)
#define EFER_NO_EXECUTE_ENABLE (1 << 11)

#ifdef __ASSEMBLER__

#define PAGE_PRESENT_WRITABLE 0x3
#define LARGE_PAGE 0x83
#define LARGE_PAGE_SIZE 0x200000

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

/* 4-level tables called pml4, with the first `gibibytes` GiB at their physical addresses in pages of 2 MiB. */
.macro identity_page_tables gibibytes
.balign 4096
.globl pml4
pml4:
	.quad page_directory_pointers + PAGE_PRESENT_WRITABLE
	.fill 511, 8, 0
page_directory_pointers:
	.set page_index, 0
	.rept \gibibytes
	.quad page_directories + page_index * 4096 + PAGE_PRESENT_WRITABLE
	.set page_index, page_index + 1
	.endr
	.fill 512 - \gibibytes, 8, 0
page_directories:
	.set page_index, 0
	.rept \gibibytes * 512
	.quad page_index * LARGE_PAGE_SIZE + LARGE_PAGE
	.set page_index, page_index + 1
	.endr
.endm

#endif
