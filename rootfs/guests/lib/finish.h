/* The end of a test guest, and its verdict. */
#pragma once
#include <stdint.h>

#define UNEXPECTED 127	/* the exit code of a guest in which something happened that no check had asked for */

/* Ends the run: by hypercall where the hypervisor says it is KVM's kin, otherwise through QEMU's debug-exit port. */
_Noreturn void finish(uint32_t code);

/* Reports what was not expected, and finishes with UNEXPECTED. */
_Noreturn void panic(const char *reason);
