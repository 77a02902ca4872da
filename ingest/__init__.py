"""Live audio in, windows out. Knows nothing about matching."""
