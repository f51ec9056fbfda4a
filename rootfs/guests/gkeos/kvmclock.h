/* Linux, Documentation/virt/kvm/x86/msr.rst: the clock that a KVM-like hypervisor keeps in guest memory. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Says whether the hypervisor has the clock, and where to keep it. */
bool kvmclock_initialize(void);
uint64_t kvmclock_nanoseconds(void);
