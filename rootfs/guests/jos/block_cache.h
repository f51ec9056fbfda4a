/* The disk in memory: every block at an address of its own, read when it is touched first. */
#pragma once
#include <stdint.h>

#define BLOCK_SIZE 4096

/* Opens the disk, and checks that what is written to it can be read. Returns its number of blocks. */
uint32_t block_cache_initialize(void);
void *block(uint32_t number);
/* Writes a block to the disk, if it is in memory and was changed. */
void flush_block(uint32_t number);
