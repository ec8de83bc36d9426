"""Pure rules and values of the federation: no clock, no I/O, no logging, standard library only."""
