#include "multiboot2.h"

.section .boot, "ax"
	multiboot2_header

.code32
.globl _start
_start:
	cli
	hlt
