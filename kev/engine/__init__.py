"""What executes guest code, behind the protocol of `kev.engine.base`."""
