/* As interrupt_entries, for INT n: for no vector does it push an error code. */
.section .text, "ax"
.balign 16
.globl software_entries
software_entries:
.rept 256
	.balign 16
	push $0
	push $\+
	jmp handle_interrupt
.endr
