#include <stdbool.h>

#include "print.h"
#include "subsystems.h"

#define START_EVERY 16

static uint32_t buffers[SUBSYSTEMS][BUFFER_SIZE / 4];

static bool all_words_are(const uint32_t *words, unsigned count, uint32_t expected)
{
	for (unsigned i = 0; i < count; i++)
		if (words[i] != expected)
			return false;
	return true;
}

static bool start_subsystem(unsigned number)
{
	uint32_t word = SUBSYSTEM_WORD(number);
	uint32_t *buffer = buffers[number];

	if (((subsystem_code *)subsystem_codes[number])() != word)
		return false;
	if (!all_words_are(subsystem_tables[number], TABLE_SIZE / 4, word))
		return false;
	if (!all_words_are(subsystem_states[number], STATE_SIZE / 4, word))
		return false;
	if (!all_words_are(buffer, BUFFER_SIZE / 4, 0))
		return false;
	subsystem_states[number][0] = number;
	buffer[0] = number;
	return true;
}

unsigned start_subsystems(void)
{
	unsigned started = 0, damaged = 0;

	for (unsigned number = 0; number < SUBSYSTEMS; number += START_EVERY) {
		if (start_subsystem(number)) {
			started++;
			continue;
		}
		print("subsystem ");
		print_decimal(number, 1, ' ');
		print(" was not loaded as it was built\n");
		damaged++;
	}
	print("subsystems: ");
	print_decimal(started, 1, ' ');
	print(" of ");
	print_decimal(SUBSYSTEMS, 1, ' ');
	print(" started\n");
	return damaged;
}
