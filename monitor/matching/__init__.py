"""From windows to plays. `worker.py` lists the steps."""
