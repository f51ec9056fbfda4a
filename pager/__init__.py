"""What every page of a guest holds, and how it gets there when it is first touched."""
