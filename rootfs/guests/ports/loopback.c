#include "loopback.h"
#include "io.h"

#define FIFO_CONTROL (COM1 + 2)
#define MODEM_CONTROL (COM1 + 4)
#define ENABLE_AND_CLEAR_FIFOS 0x07
#define LOOPBACK 0x10

void loopback_begin(void)
{
	while (!(inb(COM1_LINE_STATUS) & TRANSMITTER_EMPTY))
		;
	outb(FIFO_CONTROL, ENABLE_AND_CLEAR_FIFOS);
	outb(MODEM_CONTROL, LOOPBACK);
}

void loopback_end(void)
{
	serial_initialize();
}
