/* The file on the host that is this guest's disk. */
#pragma once
#include <stdint.h>

#define SECTOR_SIZE 512

/* Opens /vmm/fsN.img, where N is the number of the guest; returns its size in bytes. */
uint32_t host_open(void);
void host_read(uint32_t sector, void *buffer, uint32_t sectors);
void host_write(uint32_t sector, const void *buffer, uint32_t sectors);
/* Has the host write what it has not written yet. */
void host_flush(void);
