"""The host's side of the JOS VMM: environments, their messages, the pages that they share, and the files that they serve."""
