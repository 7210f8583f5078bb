"""The registry: what the repository knows of its datasets."""
