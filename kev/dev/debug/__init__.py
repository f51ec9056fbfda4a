"""Ways for a guest to print and to end that no PC has."""
