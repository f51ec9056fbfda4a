"""What went wrong, in words and as a picture."""
