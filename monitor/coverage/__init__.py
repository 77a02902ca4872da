"""The coverage ledger: which seconds of a stream were monitored, and the gaps with their reasons."""
