"""One table object for each noun: what is stored, and the queries on it."""
