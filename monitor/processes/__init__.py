"""The full mode on one machine, for trying it by hand and for tests: its servers, and all of Airtrace's processes."""
