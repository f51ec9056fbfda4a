#include "topology.h"
#include "acpi.h"
#include "check.h"
#include "finish.h"
#include "mp_table.h"

static void add_processor(struct topology *topology, uint32_t id, uint32_t flags)
{
	if (!(flags & ACPI_PROCESSOR_ENABLED))
		return;
	if (id >= MAX_PROCESSORS || topology->count == MAX_PROCESSORS)
		panic("more processors than this guest has room for");
	topology->ids[topology->count++] = id;
}

static void read_madt(struct topology *topology, const struct acpi_madt *madt)
{
	const uint8_t *end = (const uint8_t *)madt + madt->header.length;
	const struct acpi_controller *controller;

	for (const uint8_t *next = (const uint8_t *)(madt + 1); next < end; next += controller->length) {
		controller = (const struct acpi_controller *)next;
		if (controller->type == ACPI_LOCAL_APIC) {
			const struct acpi_local_apic *apic = (const struct acpi_local_apic *)controller;

			add_processor(topology, apic->id, apic->flags);
		} else if (controller->type == ACPI_LOCAL_X2APIC) {
			const struct acpi_local_x2apic *apic = (const struct acpi_local_x2apic *)controller;

			add_processor(topology, apic->id, apic->flags);
		}
	}
}

void topology_read(struct topology *topology)
{
	const struct acpi_root *root = acpi_find_root();
	check(root && acpi_root_is_valid(root), "the firmware left an ACPI root pointer");

	const struct acpi_table *madt = acpi_find_table(root, "APIC");
	check(madt && acpi_table_is_valid(madt), "the ACPI tables have a valid MADT");
	read_madt(topology, (const struct acpi_madt *)madt);

	const struct mp_table *mp_table = mp_find_table();
	check(mp_table, "the firmware left a valid MP table");
	check_equal(mp_count_processors(mp_table), topology->count, "the MP table counts the processors of the MADT");
}
