#include "processors.h"
#include "cpu.h"
#include "repeat.h"

#define PARTNER 1

static volatile uint32_t turn;	/* 0 or PARTNER */
static volatile uint32_t partner_runs;

static void take_turn(uint32_t own)
{
	while (turn != own)
		cpu_pause();
	turn = own ^ PARTNER;
}

static void be_partner(uint32_t id)
{
	partner_runs = 1;
	for (;;)
		take_turn(id);
}

void start_partner(void)
{
	start_processor(PARTNER, be_partner);
	while (!partner_runs)
		cpu_pause();
}

/* While the other processor does not run. */
void repeat_pause(uint32_t count)
{
	REPEAT(count)
		cpu_pause();
}

/* Each PAUSE in a turn's wait lets the other processor have its own. */
void repeat_switch(uint32_t count)
{
	REPEAT(count / 2)
		take_turn(0);
}
