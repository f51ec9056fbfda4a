#include "transport.h"
#include "apic.h"
#include "interrupts.h"
#include "io.h"
#include "io_apic.h"
#include "queue.h"

#define VECTOR 0x40

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE 0x80000000u
#define DEVICES 32

/* Configuration space: PCI Local Bus 3.0, chapter 6. */
#define COMMAND 0x04
#define COMMAND_MEMORY 0x2
#define COMMAND_BUS_MASTER 0x4
#define BASE_ADDRESS 0x10
#define CAPABILITIES 0x34
#define INTERRUPT 0x3c
#define VENDOR_SPECIFIC 0x09

#define VIRTIO_VENDOR 0x1af4
#define TRANSITIONAL_BLOCK 0x1001
#define SUBSYSTEM 0x2c	/* the device's kind, in the upper half */

/* The structures that capabilities point to. */
#define COMMON 1
#define NOTIFICATION 2
#define INTERRUPT_STATUS 3
#define DEVICE 4

#define FEATURE_VERSION_1 1	/* of the upper 32 features */

#define ACKNOWLEDGE 1
#define DRIVER 2
#define DRIVER_OK 4
#define FEATURES_OK 8

struct common {
	uint32_t device_features_select, device_features, driver_features_select, driver_features;
	uint16_t msix_config, queues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_msix_vector, queue_enable, queue_notify_offset;
	uint32_t queue_descriptors[2], queue_driver[2], queue_device[2];
};

static uint64_t structures[DEVICE + 1];
static uint32_t notification_distance;
static volatile struct common *common;
static volatile uint32_t interrupts;

static uint32_t read_config(uint32_t function, uint32_t offset)
{
	outl(CONFIG_ADDRESS, function | (offset & ~3u));
	return inl(CONFIG_DATA) >> 8 * (offset & 3);
}

static void write_config(uint32_t function, uint32_t offset, uint32_t value)
{
	outl(CONFIG_ADDRESS, function | offset);
	outl(CONFIG_DATA, value);
}

struct location virtio_locate(const char *command_line)
{
	(void)command_line;
	for (uint32_t device = 0; device < DEVICES; device++) {
		uint32_t function = CONFIG_ENABLE | device << 11;
		if (read_config(function, 0) == (VIRTIO_VENDOR | TRANSITIONAL_BLOCK << 16))
			return (struct location){ function, read_config(function, INTERRUPT) & 0xff };
	}
	return (struct location){ 0, 0 };
}

static void find_structures(uint32_t function)
{
	for (uint8_t at = (uint8_t)read_config(function, CAPABILITIES); at; at = (uint8_t)read_config(function, at + 1)) {
		uint8_t structure = (uint8_t)read_config(function, at + 3);
		if ((uint8_t)read_config(function, at) != VENDOR_SPECIFIC || structure > DEVICE)
			continue;
		uint32_t base = read_config(function, BASE_ADDRESS + 4 * (read_config(function, at + 4) & 0xff));
		structures[structure] = (base & ~0xfu) + read_config(function, at + 8);
		if (structure == NOTIFICATION)
			notification_distance = read_config(function, at + 16);
	}
}

bool virtio_is_there(struct location location, uint32_t device_id)
{
	uint32_t function = (uint32_t)location.base;

	if (!function || read_config(function, SUBSYSTEM) >> 16 != device_id)
		return false;
	find_structures(function);
	write_config(function, COMMAND, COMMAND_MEMORY | COMMAND_BUS_MASTER);
	common = (volatile struct common *)structures[COMMON];
	return structures[COMMON] && structures[NOTIFICATION] && structures[INTERRUPT_STATUS] && structures[DEVICE];
}

/* The line is asserted until the interrupt status has been read. */
static void handle_interrupt_line(struct interrupt_frame *frame)
{
	(void)frame;
	interrupts++;
	(void)*(volatile uint8_t *)structures[INTERRUPT_STATUS];
	apic_end_of_interrupt();
}

static bool agree_on_features(void)
{
	common->device_features_select = 1;
	if (!(common->device_features & FEATURE_VERSION_1))
		return false;
	common->driver_features_select = 0;
	common->driver_features = 0;
	common->driver_features_select = 1;
	common->driver_features = FEATURE_VERSION_1;
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
	return common->status & FEATURES_OK;
}

static void set_address(volatile uint32_t field[2], volatile void *address)
{
	field[0] = (uint32_t)(uint64_t)address;
	field[1] = (uint32_t)((uint64_t)address >> 32);
}

static bool give_queue(void)
{
	common->queue_select = 0;
	if (common->queue_enable || common->queue_size < QUEUE_SIZE)
		return false;
	common->queue_size = QUEUE_SIZE;
	set_address(common->queue_descriptors, queue_descriptors);
	set_address(common->queue_driver, &queue_available);
	set_address(common->queue_device, &queue_used);
	common->queue_enable = 1;
	return common->queue_enable;
}

bool virtio_initialize(struct location location)
{
	set_interrupt_handler(VECTOR, handle_interrupt_line);
	io_apic_route(location.irq, VECTOR, true);
	common->status = 0;
	while (common->status)
		;
	common->status = ACKNOWLEDGE;
	common->status = ACKNOWLEDGE | DRIVER;
	if (!agree_on_features() || !give_queue())
		return false;
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
	return common->status == (ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

uint64_t virtio_configuration(uint32_t offset)
{
	volatile uint32_t *field = (volatile uint32_t *)(structures[DEVICE] + offset);

	return (uint64_t)field[1] << 32 | field[0];
}

void virtio_notify(void)
{
	*(volatile uint16_t *)(structures[NOTIFICATION] + common->queue_notify_offset * notification_distance) = 0;
}

uint32_t virtio_interrupts(void)
{
	return interrupts;
}
