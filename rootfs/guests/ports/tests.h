#pragma once

void test_forms(void);
void test_strings(void);
void test_repetitions(void);
