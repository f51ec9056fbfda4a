/* Xen, public/arch-x86/hvm/start_info.h. All addresses are physical. */
#pragma once
#include <stdint.h>

#define START_INFO_MAGIC 0x336ec578

struct start_info {
	uint32_t magic, version, flags, modules_count;
	uint64_t modules, command_line, rsdp;
	/* From version 1 on. */
	uint64_t memory_map;
	uint32_t regions, reserved;
};

struct start_module {
	uint64_t address, size, command_line, reserved;
};

struct start_region {
	uint64_t base, length;
	uint32_t type, reserved;
};
