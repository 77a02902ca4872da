"""The measure that Airtrace and its peers are judged by: what was reported against what was played."""
