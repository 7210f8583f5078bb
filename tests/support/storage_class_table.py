"""Writes storage/storage_classes.yaml from the installed Butler: ``python -m tests.support.storage_class_table``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from lsst.daf.butler import StorageClassConfig

__all__ = ["TABLE", "installed_definitions"]

TABLE = Path(__file__).parents[2] / "storage" / "storage_classes.yaml"
_KEYS = ("pytype", "inheritsFrom", "components", "derivedComponents")
_HEADER = """\
# The storage classes that every Butler knows: Python type, base, components, and components derived from others.
# Made by tests/support/storage_class_table.py from lsst-daf-butler; do not edit. A test compares the two.
"""


def installed_definitions() -> dict[str, dict[str, Any]]:
    """Return the facts that a reader needs of each storage class, in the Butler's own keys."""
    definitions = StorageClassConfig().toDict()
    return {name: {key: value[key] for key in _KEYS if key in value} for name, value in definitions.items()}


def main() -> None:
    """Write the table, one class a line where it fits."""
    TABLE.write_text(
        _HEADER
        + "".join(
            yaml.safe_dump({name: value}, sort_keys=False, width=120, default_flow_style=None)
            for name, value in sorted(installed_definitions().items())
        )
    )


if __name__ == "__main__":
    main()
