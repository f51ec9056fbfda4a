"""The disks of guests: SIMPLEFS, which images come from, and the file system of JOS; both over 512-byte sectors."""
