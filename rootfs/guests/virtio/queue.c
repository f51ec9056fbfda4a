#include "queue.h"
#include "transport.h"

#define DESCRIPTOR_NEXT 1
#define DESCRIPTOR_WRITE 2

volatile struct descriptor queue_descriptors[QUEUE_SIZE] __attribute__((aligned(16)));
volatile struct available queue_available __attribute__((aligned(2)));
volatile struct used queue_used __attribute__((aligned(4)));

uint32_t virtio_request(const struct buffer *buffers, uint32_t count)
{
	uint16_t before = queue_used.index;

	for (uint32_t i = 0; i < count; i++) {
		volatile struct descriptor *descriptor = &queue_descriptors[i];
		descriptor->address = (uint64_t)buffers[i].address;
		descriptor->length = buffers[i].length;
		descriptor->flags = (buffers[i].device_writes ? DESCRIPTOR_WRITE : 0) | (i + 1 < count ? DESCRIPTOR_NEXT : 0);
		descriptor->next = (uint16_t)(i + 1);
	}
	queue_available.ring[queue_available.index % QUEUE_SIZE] = 0;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	queue_available.index++;
	virtio_notify();
	while (queue_used.index == before)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	return queue_used.ring[before % QUEUE_SIZE].length;
}
