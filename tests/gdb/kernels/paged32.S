/* A 32-bit kernel without paging, until it turns that on itself. */
.section .multiboot, "a"
.balign 4
	.long 0x1BADB002, 0, -0x1BADB002
.text
.globl _start
_start:
	mov $stack_end, %esp
	xor %ebp, %ebp
	lgdt gdt_pointer
	ljmp $8, $flat
flat:
	mov $16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	push $0
	jmp kernel
.globl enter_page_fault
enter_page_fault:
	pusha
	lea 36(%esp), %eax	/* where the instruction pointer is */
	push %eax
	call page_fault
	add $4, %esp
	popa
	add $4, %esp
	iret
.globl enter_interrupt
enter_interrupt:
	pusha
	call interrupt
	popa
	iret
.balign 8
gdt:
	.quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF
gdt_pointer:
	.word gdt_pointer - gdt - 1
	.long gdt
.bss
.balign 16
	.skip 16384
stack_end:
