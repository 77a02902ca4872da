"""The demo: real music, a station that puts it on the air, and a report of what Airtrace made of it."""
