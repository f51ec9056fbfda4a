/* The functions of <string.h> that compilers call by themselves. */
#pragma once
#include <stddef.h>

void *memcpy(void *restrict destination, const void *restrict source, size_t count);
void *memset(void *destination, int byte, size_t count);
