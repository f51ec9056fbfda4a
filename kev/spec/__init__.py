"""What a machine is to be like: one description, and the forms in which it is written and read."""
