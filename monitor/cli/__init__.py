"""The command line: only declarations. The bodies are in `monitor/commands/`, which is imported when a command runs."""
