#include "firmware.h"

#define EXTENDED_BIOS_DATA_SEGMENT 0x40e	/* where the BIOS data area holds it */
#define EXTENDED_BIOS_DATA_SIZE 0x400
#define BIOS_START 0xe0000
#define BIOS_END 0x100000
#define ALIGNMENT 16

bool bytes_sum_to_zero(const void *first, uint32_t count)
{
	const uint8_t *bytes = first;
	uint8_t sum = 0;

	while (count--)
		sum += *bytes++;
	return !sum;
}

bool bytes_are(const void *bytes, const char *expected, uint32_t count)
{
	for (const char *next = bytes; count; count--)
		if (*next++ != *expected++)
			return false;
	return true;
}

static const void *find_between(uintptr_t start, uintptr_t end, const char *signature, uint32_t length)
{
	for (uintptr_t address = start; address < end; address += ALIGNMENT)
		if (bytes_are((const void *)address, signature, length))
			return (const void *)address;
	return 0;
}

const void *find_in_firmware(const char *signature, uint32_t length)
{
	uintptr_t data = (uintptr_t)*(const volatile uint16_t *)EXTENDED_BIOS_DATA_SEGMENT << 4;
	const void *found = data ? find_between(data, data + EXTENDED_BIOS_DATA_SIZE, signature, length) : 0;

	return found ? found : find_between(BIOS_START, BIOS_END, signature, length);
}
