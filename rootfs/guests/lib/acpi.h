/* ACPI Specification 6.5, chapter 5: finding and checking the firmware's tables, at physical addresses below 4 GiB. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct acpi_root {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	/* From revision 2 on. */
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

struct acpi_table {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

#define ACPI_LOCAL_APIC 0
#define ACPI_IO_APIC 1
#define ACPI_INTERRUPT_OVERRIDE 2
#define ACPI_LOCAL_X2APIC 9

/* The interrupt controllers ("APIC"). Structures of various types follow. */
struct acpi_madt {
	struct acpi_table header;
	uint32_t local_apic_address, flags;
} __attribute__((packed));

struct acpi_controller {
	uint8_t type, length;
} __attribute__((packed));

#define ACPI_PROCESSOR_ENABLED 1

struct acpi_local_apic {
	struct acpi_controller header;
	uint8_t processor, id;
	uint32_t flags;
} __attribute__((packed));

struct acpi_local_x2apic {
	struct acpi_controller header;
	uint16_t reserved;
	uint32_t id, flags, processor;
} __attribute__((packed));

/* The checksums hold. */
bool acpi_root_is_valid(const struct acpi_root *root);
bool acpi_table_is_valid(const struct acpi_table *table);

/* Looks for the root pointer where a PC's firmware leaves it. NULL if it is not there. */
const struct acpi_root *acpi_find_root(void);
/* A table that `root` leads to, or NULL. */
const struct acpi_table *acpi_find_table(const struct acpi_root *root, const char *signature);
