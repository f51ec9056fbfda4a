"""Trace programs: vCPUs that touch, evict, prefetch and cancel, without a CPU, against the real pager."""
