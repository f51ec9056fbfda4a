"""A debugger's end of a machine: the remote serial protocol of gdb and lldb. See docs/gdb.md."""
