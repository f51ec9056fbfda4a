/* What a PC's firmware leaves in the first MiB. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

bool bytes_sum_to_zero(const void *first, uint32_t count);
bool bytes_are(const void *bytes, const char *expected, uint32_t count);

/* Looks for a structure by its signature: in the first KiB of the extended BIOS data area and in the BIOS area. NULL if it is in neither. */
const void *find_in_firmware(const char *signature, uint32_t length);
