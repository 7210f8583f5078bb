"""The datastores: where files are."""
