#include "multiboot2.h"

.section .boot, "ax"
	multiboot2_header

.code32
.globl _start
_start:
	lidt empty
	ud2

empty:
	.word 0
	.long 0
