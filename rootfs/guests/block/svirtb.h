/* The driver of svirtb, KeV's block device. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define SVIRTB_READ 0
#define SVIRTB_WRITE 1

/* Says whether there is a device, and makes it ready. */
bool svirtb_initialize(void);
/* Puts a request into the queue, which has room for 15. */
void svirtb_queue(uint32_t command, void *buffer, uint64_t length, uint64_t sector);
/* Has the device serve the queue; says whether it did. */
bool svirtb_serve(void);
