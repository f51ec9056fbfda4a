#include "enter.h"
#include "segments.h"

#define RFLAGS_FIXED 2

extern uint64_t excursion_stack;

void end_excursion(struct interrupt_frame *frame)
{
	frame->rip = (uint64_t)leave;
	frame->cs = KERNEL_CODE;
	frame->rflags = RFLAGS_FIXED;
	frame->rsp = excursion_stack;
	frame->ss = KERNEL_DATA;
}
