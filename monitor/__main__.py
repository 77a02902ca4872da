"""`python -m monitor` is `airtrace`."""

from monitor.cli.main import main

main()
