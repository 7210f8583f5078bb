"""Provenance: what ran, where and when, how it ended, and what it read and wrote."""
