/* The boot sector: loads the rest of the code by cylinder, head and sector. */
#define SECTOR_SIZE 512

.section .sector, "ax"
.code16
.globl _start
_start:
	ljmp $0, $begin
begin:
	xor %ax, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %dl, boot_drive
	mov $hello, %si
	call print

	mov $rest_sectors, %al
	mov $0x02, %ah
	mov $rest, %bx
	mov $2, %cx		/* cylinder 0, sector 2 */
	mov $0, %dh
	int $0x13
	mov $no_disk, %si
	jc give_up
	jmp services

give_up:
	call print
	int $0x18

/* Prints the string at DS:SI. */
.globl print
print:
	lodsb
	test %al, %al
	jz 1f
	mov $0x0e, %ah
	mov $7, %bx
	int $0x10
	jmp print
1:
	ret

/* Prints EAX in hexadecimal, 8 digits. */
.globl print_number
print_number:
	mov %eax, %edx
	mov $8, %cx
1:
	rol $4, %edx
	mov %dl, %al
	and $0xf, %al
	cmp $10, %al
	jb 2f
	add $'a' - '0' - 10, %al
2:
	add $'0', %al
	mov $0x0e, %ah
	mov $7, %bx
	int $0x10
	loop 1b
	ret

.globl boot_drive
boot_drive:
	.byte 0
hello:
	.asciz "Hello by INT 10h.\r\n"
no_disk:
	.asciz "INT 13h fails.\r\n"

.org SECTOR_SIZE - 2
	.byte 0x55, 0xaa
