/* What the kernel's parts know of each other. */
#pragma once

/* Selectors of the kernel's own descriptor table. SYSCALL adds 8 to the first for SS; SYSRET adds 8 for SS and 16 for CS. */
#define KERNEL_CODE 0x10
#define KERNEL_DATA 0x18
#define SYSRET_BASE 0x23
#define USER_CODE 0x33
#define USER_DATA 0x2b

#define PROGRAM 0x400000

#define HEY 0
#define BYE 1
