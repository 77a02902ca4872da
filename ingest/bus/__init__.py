"""Carries records from ingest to the workers: the port, the spool, Kafka."""
