#pragma once
#include <stdint.h>

/* A line about a boot module at the physical addresses from `start` to `end`: its text, its size and its first line. */
void print_module(uintptr_t start, uintptr_t end, const char *text);
