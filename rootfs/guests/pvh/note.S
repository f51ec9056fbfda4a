/* Xen, public/elfnote.h: the note that says where a PVH boot loader enters. */
#define XEN_ELFNOTE_PHYS32_ENTRY 18

.section .note, "a", @note
	.long name_end - name, entry_end - entry, XEN_ELFNOTE_PHYS32_ENTRY
name:
	.asciz "Xen"
name_end:
.balign 4
entry:
	.long _start
entry_end:
