"""The pure core: no I/O, no clock, no randomness; imports only the standard library and numpy."""
