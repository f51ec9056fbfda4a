/* KVM's hypercalls and the features that its CPUID leaves announce: Linux, Documentation/virt/kvm/x86. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "cpu.h"

#define CPUID_KVM_FEATURES 0x40000001
#define KVM_FEATURE_SEND_IPI 11

#define KVM_SEND_IPI 10

static inline bool kvm_has(int feature)
{
	return is_kvm() && cpuid(CPUID_KVM_FEATURES).eax >> feature & 1;
}

static inline uintptr_t kvm_hypercall(uintptr_t number, uintptr_t first, uintptr_t second, uintptr_t third, uintptr_t fourth)
{
	uintptr_t result;
	__asm__ volatile("vmcall" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third), "S"(fourth) : "memory");
	return result;
}
