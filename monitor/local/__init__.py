"""Everything on this machine: the home, the PostgreSQL server in it, and the full mode for trying it out."""
