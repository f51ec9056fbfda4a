/* The program, which runs at PROGRAM: it says hey and bye by lv6's two system calls. */
#define HEY 0
#define BYE 1

.section .user, "ax"
.balign 4096
.globl program
program:
	mov $481, %edi
	mov $HEY, %eax
	vmcall
	mov $451, %edi
	mov $BYE, %eax
	vmcall
1:	jmp 1b
.balign 4096
