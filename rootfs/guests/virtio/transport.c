#include "transport.h"
#include "apic.h"
#include "command_line.h"
#include "interrupts.h"
#include "io_apic.h"
#include "queue.h"

#define DEFAULT_BASE 0xd0000000
#define DEFAULT_IRQ 10
#define VECTOR 0x40

#define MAGIC 0x74726976
#define VERSION 2
#define FEATURE_VERSION_1 1	/* of the upper 32 features */

#define ACKNOWLEDGE 1
#define DRIVER 2
#define DRIVER_OK 4
#define FEATURES_OK 8

struct registers {
	uint32_t magic, version, device_id, vendor_id;
	uint32_t device_features, device_features_select, reserved1[2];
	uint32_t driver_features, driver_features_select, reserved2[2];
	uint32_t queue_select, queue_size_max, queue_size, reserved3[2];
	uint32_t queue_ready, reserved4[2];
	uint32_t queue_notify, reserved5[3];
	uint32_t interrupt_status, interrupt_acknowledge, reserved6[2];
	uint32_t status, reserved7[3];
	uint32_t queue_descriptors[2], reserved8[2];
	uint32_t queue_driver[2], reserved9[2];
	uint32_t queue_device[2], reserved10[21];
	uint32_t configuration_generation;
	uint32_t configuration[];
};

static volatile struct registers *device;
static volatile uint32_t interrupts;

struct location virtio_locate(const char *command_line)
{
	const char *text = find_option(command_line, "virtio_mmio.device=");
	struct location location = { DEFAULT_BASE, DEFAULT_IRQ };

	if (!text)
		return location;
	parse_number(text, &text);
	if (*text == '@')
		location.base = parse_number(text + 1, &text);
	if (*text == ':')
		location.irq = (uint32_t)parse_number(text + 1, &text);
	return location;
}

bool virtio_is_there(struct location location, uint32_t device_id)
{
	device = (volatile struct registers *)location.base;
	return device->magic == MAGIC && device->version == VERSION && device->device_id == device_id;
}

/* The line is asserted until every reason for it has been acknowledged. */
static void handle_interrupt_line(struct interrupt_frame *frame)
{
	(void)frame;
	interrupts++;
	device->interrupt_acknowledge = device->interrupt_status;
	apic_end_of_interrupt();
}

static bool agree_on_features(void)
{
	device->device_features_select = 1;
	if (!(device->device_features & FEATURE_VERSION_1))
		return false;
	device->driver_features_select = 0;
	device->driver_features = 0;
	device->driver_features_select = 1;
	device->driver_features = FEATURE_VERSION_1;
	device->status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
	return device->status & FEATURES_OK;
}

static void set_address(volatile uint32_t reg[2], volatile void *address)
{
	reg[0] = (uint32_t)(uint64_t)address;
	reg[1] = (uint32_t)((uint64_t)address >> 32);
}

static bool give_queue(void)
{
	device->queue_select = 0;
	if (device->queue_ready || device->queue_size_max < QUEUE_SIZE)
		return false;
	device->queue_size = QUEUE_SIZE;
	set_address(device->queue_descriptors, queue_descriptors);
	set_address(device->queue_driver, &queue_available);
	set_address(device->queue_device, &queue_used);
	device->queue_ready = 1;
	return device->queue_ready;
}

bool virtio_initialize(struct location location)
{
	set_interrupt_handler(VECTOR, handle_interrupt_line);
	io_apic_route(location.irq, VECTOR, true);
	device->status = 0;
	device->status = ACKNOWLEDGE;
	device->status = ACKNOWLEDGE | DRIVER;
	if (!agree_on_features() || !give_queue())
		return false;
	device->status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
	return device->status == (ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

uint64_t virtio_configuration(uint32_t offset)
{
	volatile uint32_t *field = device->configuration + offset / sizeof(uint32_t);

	return (uint64_t)field[1] << 32 | field[0];
}

void virtio_notify(void)
{
	device->queue_notify = 0;
}

uint32_t virtio_interrupts(void)
{
	return interrupts;
}
