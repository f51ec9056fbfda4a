"""Page tables: one radix-tree walker, several entry formats."""
