/* A virtio device, over MMIO (VIRTIO 1.2, section 4.2) or PCI (section 4.1), whichever transport is linked. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct buffer {
	void *address;
	uint32_t length;
	bool device_writes;
};

/* Where a device is. Over MMIO: on the command line as Linux has it, virtio_mmio.device=SIZE@BASE:IRQ, or where KeV's is. Over PCI:
 * the address of its configuration space, of the first one on bus 0. */
struct location {
	uint64_t base;
	uint32_t irq;
};

struct location virtio_locate(const char *command_line);
/* Says whether there is a virtio device of this kind. */
bool virtio_is_there(struct location location, uint32_t device_id);
/* Resets the device, agrees on VERSION_1 and nothing else, and gives it queue 0. Says whether it agrees. */
bool virtio_initialize(struct location location);
/* A field of the device's configuration. */
uint64_t virtio_configuration(uint32_t offset);
/* Tells the device of what is new in queue 0. */
void virtio_notify(void);
/* Has the device serve a request of several buffers, and sleeps until it has; returns how many bytes it wrote. */
uint32_t virtio_request(const struct buffer *buffers, uint32_t count);
/* How many interrupts there have been. */
uint32_t virtio_interrupts(void);
