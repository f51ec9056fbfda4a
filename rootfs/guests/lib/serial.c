#include "serial.h"
#include "io.h"

#define INTERRUPT_ENABLE (COM1 + 1)
#define DIVISOR_LOW COM1
#define DIVISOR_HIGH (COM1 + 1)
#define FIFO_CONTROL (COM1 + 2)
#define LINE_CONTROL (COM1 + 3)
#define MODEM_CONTROL (COM1 + 4)

#define DIVISOR_LATCH 0x80
#define EIGHT_DATA_BITS 0x03
#define ENABLE_AND_CLEAR_FIFOS 0x07
#define TERMINAL_AND_REQUEST_READY 0x03

void serial_initialize(void)
{
	outb(INTERRUPT_ENABLE, 0);
	outb(LINE_CONTROL, DIVISOR_LATCH | EIGHT_DATA_BITS);
	outb(DIVISOR_LOW, 1);
	outb(DIVISOR_HIGH, 0);
	outb(LINE_CONTROL, EIGHT_DATA_BITS);
	outb(FIFO_CONTROL, ENABLE_AND_CLEAR_FIFOS);
	outb(MODEM_CONTROL, TERMINAL_AND_REQUEST_READY);
}

void serial_write(char character)
{
	while (!(inb(COM1_LINE_STATUS) & TRANSMITTER_EMPTY))
		;
	outb(COM1, (uint8_t)character);
}
