#include "cpu.h"
#include "interrupts.h"
#include "mode.h"

static void halt_in_handler(struct interrupt_frame *frame)
{
	(void)frame;
	halt_forever();
}

void install_handler(void)
{
	interrupts_initialize();
	set_interrupt_handler(INVALID_OPCODE, halt_in_handler);
}
