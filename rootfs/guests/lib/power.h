/* Two ways of leaving a virtual machine through a port. QEMU's emulated CPU powers off by a word only, KeV by a double word. */
#pragma once

#define DEBUG_EXIT 0xf4			/* QEMU's isa-debug-exit: the machine ends with code 2 * value + 1 */
#define ACPI_POWER_CONTROL 0x604
#define ACPI_SLEEP_ENABLE 0x2000	/* state S5: soft off */

#ifdef __ASSEMBLER__

.macro power_off
	.code32
	mov $ACPI_POWER_CONTROL, %edx
	mov $ACPI_SLEEP_ENABLE, %eax
	out %eax, %dx
	out %ax, %dx
	cli
	hlt
.endm

#else
#include "cpu.h"
#include "io.h"

/* Powers off where no debug-exit device listens. */
_Noreturn static inline void debug_exit(uint32_t value)
{
	outl(DEBUG_EXIT, value);
	outl(ACPI_POWER_CONTROL, ACPI_SLEEP_ENABLE);
	outw(ACPI_POWER_CONTROL, ACPI_SLEEP_ENABLE);
	halt_forever();
}

#endif
