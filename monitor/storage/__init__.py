"""Stores and finds everything: the adapters to PostgreSQL and Milvus, and the tables."""
