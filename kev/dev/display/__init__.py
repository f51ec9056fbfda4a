"""The VGA's text mode."""
