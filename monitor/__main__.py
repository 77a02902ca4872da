"""`python -m monitor` is `airtrace`."""

from monitor.cli import main

main()
