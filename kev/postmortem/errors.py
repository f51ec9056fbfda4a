"""What can be wrong with debug information."""


class DamagedDebugInformation(Exception):
    """Debug information is not as DWARF says. It costs what it would have told, and nothing else."""
