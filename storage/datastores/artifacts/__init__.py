"""Artifact stores: file systems and object stores, as those see them who look after files, not after datasets."""
