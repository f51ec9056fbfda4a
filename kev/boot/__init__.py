"""Boot protocols: one per file. Each says how a vCPU starts and what the guest finds in memory."""
