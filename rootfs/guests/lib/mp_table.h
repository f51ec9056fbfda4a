/* Intel MultiProcessor Specification 1.4, chapter 4. */
#pragma once
#include <stdint.h>

struct mp_pointer {
	char signature[4];
	uint32_t table;
	uint8_t length, revision, checksum, features[5];
} __attribute__((packed));

struct mp_table {
	char signature[4];
	uint16_t length;
	uint8_t revision, checksum;
	char oem[8], product[12];
	uint32_t oem_table;
	uint16_t oem_table_size, entries;
	uint32_t local_apic_address;
	uint16_t extended_length;
	uint8_t extended_checksum, reserved;
} __attribute__((packed));

/* The table, if the firmware left one and its checksum holds; otherwise NULL. */
const struct mp_table *mp_find_table(void);
/* How many usable processors it lists. */
uint32_t mp_count_processors(const struct mp_table *table);
