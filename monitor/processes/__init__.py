"""The processes of Airtrace: `run`, `ingest`, `worker` and `api`."""
