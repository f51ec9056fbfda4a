#include "memory.h"

/* In assembly, for the compiler would make the loop a call of the function that it is in. */
void *memcpy(void *restrict destination, const void *restrict source, size_t count)
{
	void *next = destination;
	__asm__ volatile("rep movsb" : "+D"(next), "+S"(source), "+c"(count) : : "memory");
	return destination;
}

void *memset(void *destination, int byte, size_t count)
{
	void *next = destination;
	__asm__ volatile("rep stosb" : "+D"(next), "+c"(count) : "a"(byte) : "memory");
	return destination;
}
