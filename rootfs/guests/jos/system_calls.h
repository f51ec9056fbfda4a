/* The system calls: by INT 0x30, number in RAX, arguments in RDI and RSI, result in RAX. */
#pragma once

#define SYSTEM_CALL_VECTOR 0x30

#define CALL_WRITE 0		/* RDI: a character, on the console */
#define CALL_READ 1		/* a character from the console, or -1 */
#define CALL_YIELD 2
#define CALL_SEND 3		/* RDI: an environment, RSI: a value; 0 if it did not wait for one */
#define CALL_RECEIVE 4		/* the value that is sent */
#define CALL_PHYSICAL 5		/* RDI: an address; that of its page in physical memory */
#define CALL_ALLOCATE 6		/* RDI: an address in the block cache, which gets a page */
#define CALL_RELEASE 7		/* RDI: an address in the block cache, which has none from now on */
#define CALL_IS_DIRTY 8		/* RDI: an address; whether its page is there, and was written to */
#define CALL_CLEAN 9		/* RDI: an address, whose page was not */
#define CALL_HANDLE_FAULTS 10	/* RDI: a function that is called with the addresses of page faults in the block cache */
#define CALL_RESUME 11		/* what it ends with */
#define CALL_HALT 12

#ifndef __ASSEMBLER__
void system_calls_initialize(void);
#endif
