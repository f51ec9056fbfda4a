#include "virtio_blk.h"
#include "transport.h"

#define NO_STATUS 0xff

static struct {
	uint32_t type, reserved;
	uint64_t sector;
} header;
static uint8_t status;

uint64_t block_capacity(void)
{
	return virtio_configuration(0);
}

uint8_t block_request(uint32_t type, void *data, uint32_t length, uint64_t sector)
{
	bool reads = type != BLOCK_OUT;
	uint32_t half = length / 2;
	const struct buffer buffers[] = {
		{ &header, sizeof(header), false },
		{ data, half, reads },
		{ (uint8_t *)data + half, length - half, reads },
		{ &status, sizeof(status), true },
	};

	header.type = type;
	header.sector = sector;
	status = NO_STATUS;
	virtio_request(buffers, sizeof(buffers) / sizeof(buffers[0]));
	return status;
}
