#include "multiboot2.h"

/* The hole for devices below 4 GiB begins under it, however much memory there is. */
#define NOWHERE 0xc0000000

.section .boot, "ax"
	multiboot2_header

.code32
.globl _start
_start:
	mov $NOWHERE, %eax
	jmp *%eax
