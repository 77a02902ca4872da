"""The bodies of the commands. `monitor/cli/` declares the commands, in files and folders of the same names."""
