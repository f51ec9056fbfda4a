/* Selectors of the global descriptor table that kernel64.S makes. The order of the user segments is SYSRET's. */
#pragma once

#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_CODE_32 0x1b
#define USER_DATA 0x23
#define USER_CODE 0x2b
#define KERNEL_CODE_32 0x30
#define SPARE_SELECTOR 0x38	/* for a guest's own experiments */
#define TASK_STATE(processor) (0x40 + 16 * (processor))
#define BEHIND_TABLE 0x7f8	/* where no descriptor is any more */
