#pragma once
#include <stdint.h>

/* `type` as in the memory maps of both Multiboot specifications. */
void print_memory_region(uint64_t base, uint64_t length, uint32_t type);
