"""Conditions on data IDs, records and datasets: the Butler's expression language, and typed filters."""
