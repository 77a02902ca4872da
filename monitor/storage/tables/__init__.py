"""One table object for each noun: what is stored, and the questions asked about it."""
