/* Text on COM1. */
#pragma once
#include <stdint.h>

void print(const char *text);
/* `width` is the least number of digits. */
void print_hex(uint64_t value, int width);
/* Pads with `pad` to `width` characters. */
void print_decimal(uint32_t value, int width, char pad);
