"""Jobs of a service: commands of kev that take long, each in a process of its own."""
