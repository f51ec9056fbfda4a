"""The interrupt controllers and the wires between them."""
