/* The queue: VIRTIO 1.2, section 2.7. */
#pragma once
#include <stdint.h>

#define QUEUE_SIZE 8	/* descriptors */

struct descriptor {
	uint64_t address;
	uint32_t length;
	uint16_t flags, next;
};

struct available {
	uint16_t flags, index, ring[QUEUE_SIZE];
};

struct used {
	uint16_t flags, index;
	struct {
		uint32_t first, length;
	} ring[QUEUE_SIZE];
};

extern volatile struct descriptor queue_descriptors[QUEUE_SIZE];
extern volatile struct available queue_available;
extern volatile struct used queue_used;
