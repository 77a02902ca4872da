"""The command line: declarations only; what commands do is in `monitor/commands/`."""
