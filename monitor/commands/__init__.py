"""What the commands of the command line do. `monitor/cli.py` declares them."""
