"""`airtrace tracks`: register recordings, and manage the ones that are in the catalog."""
