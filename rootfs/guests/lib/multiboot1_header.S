#include "multiboot1.h"

.section .boot, "ax"
	multiboot1_header
