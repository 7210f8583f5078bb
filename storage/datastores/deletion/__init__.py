"""Deleting datasets: planned, detached from the Butler's tables, and undone or unlinked after a while."""
