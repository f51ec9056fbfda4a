#include "acpi.h"
#include "firmware.h"

#define REVISION_1_LENGTH 20

bool acpi_root_is_valid(const struct acpi_root *root)
{
	if (!bytes_are(root->signature, "RSD PTR ", 8) || !bytes_sum_to_zero(root, REVISION_1_LENGTH))
		return false;
	return root->revision < 2 || bytes_sum_to_zero(root, root->length);
}

bool acpi_table_is_valid(const struct acpi_table *table)
{
	return bytes_sum_to_zero(table, table->length);
}

const struct acpi_root *acpi_find_root(void)
{
	return find_in_firmware("RSD PTR ", 8);
}

/* A table of tables holds addresses of `size` bytes. */
static const struct acpi_table *find_listed(const struct acpi_table *list, uint32_t size, const char *signature)
{
	const uint8_t *end = (const uint8_t *)list + list->length;

	for (const uint8_t *entry = (const uint8_t *)(list + 1); entry < end; entry += size) {
		const struct acpi_table *table = (const struct acpi_table *)(uintptr_t) *(const uint32_t *)entry;

		if (bytes_are(table->signature, signature, 4))
			return table;
	}
	return 0;
}

const struct acpi_table *acpi_find_table(const struct acpi_root *root, const char *signature)
{
	if (root->revision >= 2 && root->xsdt)
		return find_listed((const struct acpi_table *)(uintptr_t)root->xsdt, 8, signature);
	return find_listed((const struct acpi_table *)(uintptr_t)root->rsdt, 4, signature);
}
