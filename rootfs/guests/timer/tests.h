#pragma once

#define TIMER_VECTOR 0x40

/* `mode` is the APIC's. */
void test_apic_timer(const char *mode);
void test_tsc_deadline(void);
void test_priorities(void);
void test_interval_timer(void);
void test_clocks(void);
