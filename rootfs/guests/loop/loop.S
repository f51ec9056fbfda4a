/* Boots by either Multiboot protocol, so that one image can be timed on several machines. */
#include "multiboot1.h"
#include "multiboot2.h"
#include "power.h"
#include "serial.h"

#define INSTRUCTIONS_EACH 5

.globl iterations
.set iterations, 100000000
.globl instructions
.set instructions, iterations * INSTRUCTIONS_EACH

.section .boot, "ax"
	multiboot1_header
	multiboot2_header

.globl _start
_start:
	serial_print begin, begin + 1
	mov $iterations, %ecx
	xor %eax, %eax
again:
	add %ecx, %eax
	rol $3, %eax
	xor %ecx, %eax
	dec %ecx
	jnz again
	serial_print end, end + 1
	power_off

begin:
	.ascii "<"
end:
	.ascii ">"
