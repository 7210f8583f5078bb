"""Whether a datastore holds what is recorded, nothing else, and as it was put there."""
