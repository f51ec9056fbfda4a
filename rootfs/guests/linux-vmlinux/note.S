/* Linux, include/linux/elfnote.h: a note by which its kernels are known. */
#define LINUX_ELFNOTE_BUILD_SALT 0x100

.section .note, "a", @note
	.long name_end - name, salt_end - salt, LINUX_ELFNOTE_BUILD_SALT
name:
	.asciz "Linux"
name_end:
.balign 4
salt:
	.asciz "kev"
salt_end:
