/* The groups of checks. Each leaves the machine as it found it, but for test_page_faults, which turns paging on. */
#pragma once

void test_exceptions(void);
void test_software_interrupts(void);
void test_single_step(void);
void test_fast_calls(void);
void test_gates_16(void);
void test_virtual_8086(void);
void test_page_faults(void);
void test_tasks(void);
void test_interrupts(void);
