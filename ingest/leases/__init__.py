"""Which process reads which stream."""
