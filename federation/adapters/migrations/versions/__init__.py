"""One file for each change of the tables. A released one never changes."""
