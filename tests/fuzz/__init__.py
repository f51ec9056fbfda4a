"""Inputs that nobody meant: every parser of what users name is given mutated files, and may raise nothing but a KevError."""
