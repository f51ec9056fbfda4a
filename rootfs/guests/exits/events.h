#pragma once

#define SOFTWARE_VECTOR 0x80
#define USER_VECTOR 0x81	/* with a gate for CPL 3 */
#define LEAVE_VECTOR 0x82	/* ends an excursion to CPL 3 */
#define INTERRUPT_VECTOR 0x40

#define NOT_MAPPED (1ul << 40)
#define FAULTING_INSTRUCTION_LENGTH 2	/* of every instruction here that faults */
