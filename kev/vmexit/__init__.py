"""What a VM does about each exit: one controller per kind of exit."""
