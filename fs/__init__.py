"""The disk that guest images come from: SIMPLEFS over 512-byte sectors."""
