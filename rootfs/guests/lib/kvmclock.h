/* Linux, Documentation/virt/kvm/x86/msr.rst: the clock that a KVM-like hypervisor keeps in guest memory. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Says whether the hypervisor has the clock, and tells it where to keep it. Physical addresses are virtual ones less `virtual_base`. */
bool kvmclock_initialize(uint64_t virtual_base);
uint64_t kvmclock_nanoseconds(void);
