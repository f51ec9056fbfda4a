/* SYSENTER and SYSEXIT: Intel SDM vol. 3, "Performing Fast Calls to System Procedures". */
#include "check.h"
#include "cpu.h"
#include "expect.h"
#include "segments.h"
#include "tests.h"

#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176

code call_by_sysenter;
extern const uint8_t sysenter_entry[];
extern uint32_t entered_esp, entered_eflags, entered_cs, entered_ss;

void test_fast_calls(void)
{
	struct start start = in_user(call_by_sysenter, 0);

	expect(&start, (struct expected){ GENERAL_PROTECTION, 0, ANY_ADDRESS }, "#GP: SYSENTER without a code segment");
	wrmsr(MSR_SYSENTER_CS, KERNEL_CODE);
	wrmsr(MSR_SYSENTER_ESP, STACK_END(kernel_stack));
	wrmsr(MSR_SYSENTER_EIP, (uint32_t)sysenter_entry);
	expect(&start, (struct expected){ NOTHING_HAPPENED, 0, ANY_ADDRESS }, "SYSEXIT comes back from SYSENTER, at CPL 3");
	check_equal(entered_esp, STACK_END(kernel_stack), "SYSENTER takes the stack from its MSR");
	check_equal(entered_cs, KERNEL_CODE, "SYSENTER takes the code segment from its MSR");
	check_equal(entered_ss, KERNEL_DATA, "the stack segment is the next one");
	check_equal(entered_eflags & EFLAGS_IF, 0, "SYSENTER clears IF");
	wrmsr(MSR_SYSENTER_CS, 0);
}
