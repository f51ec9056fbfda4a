/* The I/O APIC: Intel 82093AA data sheet, section 3.2. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Sends the interrupts of an input to this processor. */
void io_apic_route(uint32_t input, uint8_t vector, bool level_triggered);
void io_apic_mask(uint32_t input);
