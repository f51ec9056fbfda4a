#include "apic.h"
#include "check.h"
#include "command_line.h"
#include "disk.h"
#include "interrupts.h"
#include "pic.h"
#include "serial.h"
#include "transport.h"
#include "virtio_blk.h"

#define NO_REQUEST 0x1234

static uint8_t buffer[2 * SECTOR_SIZE];

static bool transfer(bool write, void *data, uint64_t length, uint64_t sector)
{
	return block_request(write ? BLOCK_OUT : BLOCK_IN, data, (uint32_t)length, sector) == BLOCK_OK;
}

static void test_errors(const struct disk *disk)
{
	check_equal(block_request(BLOCK_IN, buffer, SECTOR_SIZE, disk->sectors), BLOCK_IO_ERROR, "a read behind the end is an I/O error");
	check_equal(block_request(BLOCK_OUT, buffer, SECTOR_SIZE, disk->sectors), BLOCK_IO_ERROR, "so is a write behind the end");
	check_equal(block_request(BLOCK_IN, buffer, sizeof(buffer), disk->sectors - 1), BLOCK_IO_ERROR, "so is a read across the end");
	check_equal(block_request(NO_REQUEST, buffer, SECTOR_SIZE, 0), BLOCK_UNSUPPORTED, "a request of no known type is not supported");
}

_Noreturn void main(uint32_t magic, uint64_t information)
{
	struct disk disk = { transfer, 0 };

	serial_initialize();
	interrupts_initialize();
	pic_initialize();
	apic_initialize();

	struct location location = virtio_locate(boot_command_line(magic, information));
	check(virtio_is_there(location, VIRTIO_BLOCK), "there is a virtio block device (--disk FILE,virtio or virtio-pci)");
	check(virtio_initialize(location), "it agrees with this driver");
	disk.sectors = block_capacity();
	check(disk_read_size(&disk) <= disk.sectors, "the file system is as large as the disk at most");
	check_disk(&disk);
	test_errors(&disk);
	__asm__ volatile("sti; nop; cli");
	check(virtio_interrupts(), "interrupts told of what was served");
	end_checks();
}
