#include "provoke.h"
#include "segment.h"

extern const uint8_t stack_end_16[];
extern volatile uint16_t events_count;
extern volatile struct event events[MOST_EVENTS];

void run_in_real_mode(const struct start *start);

const volatile struct event *events_seen(void)
{
	return LINEAR(events);
}

uint16_t events_number(void)
{
	return *(volatile uint16_t *)LINEAR(&events_count);
}

const volatile struct event *provoke(const struct start *start)
{
	*(volatile uint16_t *)LINEAR(&events_count) = 0;
	run_in_real_mode(start);
	return events_seen();
}

struct start start_at(const uint8_t *code)
{
	return (struct start){ .ip = (uint16_t)(uintptr_t)code, .flags = FLAGS_FIXED, .sp = (uint16_t)(uintptr_t)stack_end_16 };
}
