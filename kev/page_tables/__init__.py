"""Page tables: the nested ones that the hypervisor writes, in Intel's and AMD's format, and the guest's own, which it reads."""
