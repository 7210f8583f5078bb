"""Pipelines that are really run, to leave behind what the readers of provenance read."""
