#pragma once

#define TRAMPOLINE 0x8000	/* a page below 1 MiB that nothing else uses */
#define STARTUP_VECTOR (TRAMPOLINE >> 12)

#ifndef __ASSEMBLER__
#include <stdint.h>

extern const uint8_t trampoline[], trampoline_end[];
#endif
