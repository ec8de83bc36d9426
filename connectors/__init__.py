"""The ways to somebody else's systems: one file for each technology, found by entry point, swapped without touching another."""
