/* The block device: VIRTIO 1.2, section 5.2. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_BLOCK 2	/* the device's kind */

#define BLOCK_IN 0
#define BLOCK_OUT 1
#define BLOCK_OK 0
#define BLOCK_IO_ERROR 1
#define BLOCK_UNSUPPORTED 2

/* In sectors. */
uint64_t block_capacity(void);
/* Carries out a request and returns the device's status byte. The data is in two pieces, as drivers may have it. */
uint8_t block_request(uint32_t type, void *data, uint32_t length, uint64_t sector);
