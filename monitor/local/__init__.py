"""The embedded mode: one directory that holds everything, and the PostgreSQL server in it."""
