/* Boots by either Multiboot protocol, so that one image can be timed on several machines. Says on COM1 what it does next. */
#include "multiboot1.h"
#include "multiboot2.h"
#include "power.h"
#include "serial.h"

#define PAGE_SIZE 4096

.globl written_pages
.set written_pages, 8192
.globl read_pages
.set read_pages, 1024
.globl executed_pages
.set executed_pages, 1024

/* Puts `operation`, which touches (%ebx), to each of `count` pages from `first` on. */
.macro for_each_page first, count, operation:vararg
	mov $\first, %ebx
	mov $\count, %ecx
.Lpage\@:
	\operation
	add $PAGE_SIZE, %ebx
	dec %ecx
	jnz .Lpage\@
.endm

.section .boot, "ax"
	multiboot1_header
	multiboot2_header

.globl _start
_start:
	serial_print write, write + 1
	for_each_page zeros, written_pages, mov %ecx, (%ebx)
	serial_print read, read + 1
	for_each_page data, read_pages, mov (%ebx), %eax
	serial_print execute, execute + 1
	jmp code

done:
	serial_print newline, newline + 1
	power_off

write:
	.ascii "w"
read:
	.ascii "r"
execute:
	.ascii "x"
newline:
	.ascii "\n"

/* Each page holds nothing but a jump to the next. */
.section .text, "ax"
.balign PAGE_SIZE
code:
.rept executed_pages
	jmp 1f
	.balign PAGE_SIZE
1:
.endr
	jmp done

.section .rodata, "a"
.balign PAGE_SIZE
data:
.rept read_pages
	.fill PAGE_SIZE / 4, 4, \+ + 1
.endr

.section .bss, "aw", @nobits
.balign PAGE_SIZE
zeros:
	.skip written_pages * PAGE_SIZE
