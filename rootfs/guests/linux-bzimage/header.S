/* The first sectors of a bzImage: a boot sector that nobody runs, with the header behind its code. */
#include "boot_params.h"

#ifdef __x86_64__
#define EXTRA_LOAD_FLAGS KERNEL_64
#else
#define EXTRA_LOAD_FLAGS 0
#endif

.section .setup, "ax"
setup:
	.org HEADER_OFFSET
	.byte SETUP_SECTORS
	.word 1				/* root_flags */
	.long kernel_paragraphs		/* syssize */
	.word 0, 0xffff, 0		/* ram_size, vid_mode, root_dev */
	.word 0xaa55
	.byte 0xeb, header_end - (. + 1)
	.ascii "HdrS"
	.word PROTOCOL_VERSION
	.long 0				/* realmode_swtch */
	.word 0, name - setup - SECTOR_SIZE	/* start_sys_seg, kernel_version */
	.byte 0, LOADED_HIGH		/* type_of_loader, loadflags */
	.word 0				/* setup_move_size */
	.long 0x100000, 0, 0, 0		/* code32_start, ramdisk_image, ramdisk_size, bootsect_kludge */
	.word 0				/* heap_end_ptr */
	.byte 0, 0			/* ext_loader_ver, ext_loader_type */
	.long 0, 0x37ffffff, ALIGNMENT	/* cmd_line_ptr, initrd_addr_max, kernel_alignment */
	.byte 1, 21			/* relocatable_kernel, min_alignment */
	.word EXTRA_LOAD_FLAGS		/* xloadflags */
	.long LONGEST_COMMAND_LINE
	.long 0				/* hardware_subarch */
	.quad 0				/* hardware_subarch_data */
	.long 0, 0			/* payload_offset, payload_length */
	.quad 0, PREFERRED_ADDRESS	/* setup_data, pref_address */
	.long INIT_SIZE
	.long 0, 0			/* handover_offset, kernel_info_offset */
header_end:
name:
	.asciz "a bzImage of kev"
	.org (1 + SETUP_SECTORS) * SECTOR_SIZE
