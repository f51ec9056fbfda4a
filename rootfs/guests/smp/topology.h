#pragma once
#include <stdint.h>

#include "processors.h"

struct topology {
	uint32_t count;
	uint32_t ids[MAX_PROCESSORS];	/* of the APICs, as the MADT lists them */
};

/* Reads the processors from the ACPI tables; checks what the MP table says of them, if there is one. */
void topology_read(struct topology *topology);
