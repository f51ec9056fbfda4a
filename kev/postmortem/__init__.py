"""When a guest dies: what a person needs to know about it. Everything here only looks: nothing of the guest changes, no page is loaded."""
