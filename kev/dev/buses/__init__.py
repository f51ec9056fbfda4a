"""What devices are attached to, and who owns which addresses."""
