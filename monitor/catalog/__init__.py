"""The catalog of reference recordings: registration, metadata, families, the index kept in sync, and transfer."""
