/* Checks of a disk, whatever device it is behind. The disk is as before when they are over. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define SECTOR_SIZE 512

struct disk {
	/* Reads or writes `length` bytes from `sector` on; says whether the device agrees. */
	bool (*transfer)(bool write, void *buffer, uint64_t length, uint64_t sector);
	uint64_t sectors;
};

/* Reads what the first sector says about the size of the disk, in sectors. Ends the guest if it is no SIMPLEFS image. */
uint64_t disk_read_size(const struct disk *disk);
void check_disk(const struct disk *disk);
