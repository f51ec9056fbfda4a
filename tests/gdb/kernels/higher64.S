/* A 64-bit kernel of the higher half: long mode is turned on by code that is linked where it is loaded. */
.section .multiboot, "a"
.balign 8
header:
	.long 0xE85250D6, 0, header_end - header, -(0xE85250D6 + (header_end - header))
	.word 0, 0
	.long 8
header_end:

.section .boot, "awx"
.code32
.globl _start
_start:
	cli
	mov $pml4, %edi
	mov %edi, %cr3
	mov %cr4, %eax
	or $0x20, %eax		/* PAE */
	mov %eax, %cr4
	mov $0xC0000080, %ecx
	rdmsr
	or $0x100, %eax		/* EFER.LME */
	wrmsr
	mov %cr0, %eax
	or $0x80000001, %eax
	mov %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $long_mode
.code64
long_mode:
	mov $16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $stack_end, %rsp
	xor %ebp, %ebp
	mov $kernel, %rax
	push $0
	jmp *%rax
.balign 8
gdt:
	.quad 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt
.balign 4096
pml4:
	.quad pdpt + 3
	.fill 510, 8, 0
	.quad high_pdpt + 3
pdpt:
	.quad directory + 3
	.fill 511, 8, 0
high_pdpt:
	.fill 510, 8, 0
	.quad directory + 3, on_demand - 0xFFFFFFFF80000000 + 3
directory:
.set index, 0
.rept 512
	.quad index * 0x200000 + 0x83
	.set index, index + 1
.endr

.text
.globl enter_page_fault
enter_page_fault:
	push %rax; push %rcx; push %rdx; push %rsi; push %rdi; push %r8; push %r9; push %r10; push %r11
	call page_fault
	pop %r11; pop %r10; pop %r9; pop %r8; pop %rdi; pop %rsi; pop %rdx; pop %rcx; pop %rax
	add $8, %rsp
	iretq

.bss
.balign 4096
.globl on_demand
on_demand:
	.skip 4096
	.skip 16384
stack_end:
