"""Live audio in, windows out. Knows nothing of matching."""
