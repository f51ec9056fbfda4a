/* COM1, a 16550 UART, by polling. */
#pragma once

#define COM1 0x3f8
#define COM1_LINE_STATUS (COM1 + 5)
#define TRANSMITTER_EMPTY 0x20

#ifdef __ASSEMBLER__

/* Prints the bytes from `first` to `last` in 32-bit code without a stack. Changes EAX, EDX and ESI. */
.macro serial_print first, last
	.code32
	mov $\first, %esi
.Lnext\@:
	mov $COM1_LINE_STATUS, %edx
.Lwait\@:
	in %dx, %al
	test $TRANSMITTER_EMPTY, %al
	jz .Lwait\@
	mov (%esi), %al
	mov $COM1, %edx
	out %al, %dx
	inc %esi
	cmp $\last, %esi
	jb .Lnext\@
.endm

#else

/* 115,200 baud, 8 data bits, no parity, 1 stop bit, FIFOs on, no interrupts. */
void serial_initialize(void);
void serial_write(char character);

#endif
