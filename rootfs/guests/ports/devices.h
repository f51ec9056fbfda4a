/*
 * Ports with answers that can be checked.
 *
 * Two ports of a byte each lie side by side at CMOS_INDEX: a word written there selects a byte of CMOS memory and writes it, for a wide
 * access to narrow ports is as many narrow ones, the lowest first.
 */
#pragma once

#define SCRATCH 0x3ff		/* of COM1: a byte that keeps what is written */
#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define PCI_ADDRESS 0xcf8	/* 32 bits that keep what is written */

#define FREE_CMOS 0x50		/* the first of bytes that nobody uses */
