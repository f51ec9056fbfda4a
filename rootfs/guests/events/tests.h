/* The groups of checks. Each leaves the machine as it found it. */
#pragma once

void test_exceptions(void);
void test_page_faults(void);
void test_software_interrupts(void);
void test_nested_events(void);
void test_single_step(void);
void test_breakpoints(void);
void test_interrupts(void);
