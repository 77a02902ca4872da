"""The demo: real music, a radio station that broadcasts it, and a report of what Airtrace recognized."""
