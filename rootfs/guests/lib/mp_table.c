#include "mp_table.h"
#include "firmware.h"

#define PROCESSOR 0
#define PROCESSOR_SIZE 20
#define PROCESSOR_FLAGS 3
#define PROCESSOR_USABLE 1
#define OTHER_SIZE 8

const struct mp_table *mp_find_table(void)
{
	const struct mp_pointer *pointer = find_in_firmware("_MP_", 4);
	const struct mp_table *table = pointer ? (const struct mp_table *)(uintptr_t)pointer->table : 0;

	return table && bytes_sum_to_zero(table, table->length) ? table : 0;
}

uint32_t mp_count_processors(const struct mp_table *table)
{
	const uint8_t *entry = (const uint8_t *)(table + 1);
	uint32_t count = 0;

	for (uint16_t i = 0; i < table->entries; i++) {
		bool is_processor = entry[0] == PROCESSOR;

		count += is_processor && entry[PROCESSOR_FLAGS] & PROCESSOR_USABLE;
		entry += is_processor ? PROCESSOR_SIZE : OTHER_SIZE;
	}
	return count;
}
