/* From the boot loader's 32-bit protected mode, at a physical address, to main() in 64-bit mode, in the high half. */
#include "banner.h"
#include "hypercall.h"
#include "layout.h"
#include "long_mode.h"
#include "multiboot2.h"
#include "serial.h"

#define CPUID_EXTENDED 0x80000000
#define CPUID_EXTENDED_FEATURES 0x80000001
#define LONG_MODE_FEATURE 29	/* in EDX */


#define CODE_SELECTOR 0x08
#define DATA_SELECTOR 0x10
#define STACK_SIZE 0x4000

.section .boot, "ax"
	multiboot2_header

.code32
.globl _start
_start:
	cmp $MULTIBOOT2_BOOTLOADER_MAGIC, %eax
	jne not_multiboot2
	mov %ebx, %edi
	serial_print PHYSICAL(banner), PHYSICAL(banner_end)

	mov $CPUID_EXTENDED, %eax
	cpuid
	cmp $CPUID_EXTENDED_FEATURES, %eax
	jb no_long_mode
	mov $CPUID_EXTENDED_FEATURES, %eax
	cpuid
	bt $LONG_MODE_FEATURE, %edx
	jnc no_long_mode

	enable_long_mode PHYSICAL(pml4)
	lgdt PHYSICAL(gdt_pointer)
	ljmp $CODE_SELECTOR, $PHYSICAL(long_mode)

not_multiboot2:
	serial_print PHYSICAL(not_multiboot2_text), PHYSICAL(not_multiboot2_text_end)
	jmp give_up

no_long_mode:
	serial_print PHYSICAL(no_long_mode_text), PHYSICAL(no_long_mode_text_end)

give_up:
	mov $HYPERCALL_EXIT, %eax
	mov $1, %edi
	vmcall
	cli
	hlt
	jmp give_up

.code64
long_mode:
	mov $DATA_SELECTOR, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	movabs $high_half, %rax
	jmp *%rax

high_half:
	lea stack_end(%rip), %rsp
	xor %ebp, %ebp
	mov %edi, %edi
	call main

gdt:
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
gdt_pointer:
	.word . - gdt - 1
	.long PHYSICAL(gdt)

banner:
	.ascii BANNER
banner_end:

not_multiboot2_text:
	.ascii "panic: the boot loader is not a Multiboot2 one\n"
not_multiboot2_text_end:

no_long_mode_text:
	.ascii "panic: the processor has no long mode\n"
no_long_mode_text_end:

.section .page_tables, "aw"
.balign 4096
pml4:
	.quad PHYSICAL(page_directory_pointers) + PAGE_PRESENT_WRITABLE
	.fill 509, 8, 0
	.quad PHYSICAL(page_directory_pointers) + PAGE_PRESENT_WRITABLE
	.quad 0
page_directory_pointers:
	.quad PHYSICAL(page_directory) + PAGE_PRESENT_WRITABLE
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
