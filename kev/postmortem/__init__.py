"""When a guest dies: what a person needs to know about it. Whatever is here only looks: nothing changes, and no page is loaded."""
