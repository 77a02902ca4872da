"""From windows to plays: hear, match, decide, write. `worker.py` has the steps."""
