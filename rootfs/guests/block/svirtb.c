#include "svirtb.h"

#define MAGIC 0x74726976
#define DRIVER_OK 0
#define READY 1
#define RESET 2

#define ENTRIES 16

struct request {
	uint64_t address, length, sector;
	uint32_t command, padding;
};

struct registers {
	uint32_t status, queue_size, queue_address_high, queue_address_low, queue_head, queue_tail;
};

static volatile struct registers *const device = (volatile struct registers *)0xcafe0000;
static volatile struct request queue[ENTRIES];
static uint32_t head;

bool svirtb_initialize(void)
{
	device->status = RESET;
	if (device->status != MAGIC)
		return false;
	device->status = DRIVER_OK;
	device->queue_address_high = (uint32_t)((uint64_t)queue >> 32);
	device->queue_address_low = (uint32_t)(uint64_t)queue;
	device->queue_size = ENTRIES;
	device->status = READY;
	head = 0;
	return device->status == READY;
}

void svirtb_queue(uint32_t command, void *buffer, uint64_t length, uint64_t sector)
{
	volatile struct request *request = &queue[head];

	request->address = (uint64_t)buffer;
	request->length = length;
	request->sector = sector;
	request->command = command;
	head = (head + 1) % ENTRIES;
}

bool svirtb_serve(void)
{
	device->queue_head = head;
	return device->status == READY && device->queue_tail == head;
}
