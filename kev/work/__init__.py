"""Work that is shared out: to processes of this computer, or to wherever else a place says."""
