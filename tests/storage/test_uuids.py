"""UUIDs that are written by the thousand are written as one by one."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butlerql.storage.errors import InvalidArgumentError
from butlerql.storage.uuids import digits_of, digits_of_each, hyphenated, hyphenated_each

_UUIDS = st.lists(st.uuids())


@given(_UUIDS)
def test_digits(uuids: list[UUID]) -> None:
    digits = [uuid.hex for uuid in uuids]
    for spellings in ([str(uuid) for uuid in uuids], [str(uuid).upper() for uuid in uuids], digits):
        assert digits_of_each(spellings) == list(map(digits_of, spellings)) == digits


@given(_UUIDS)
def test_hyphens(uuids: list[UUID]) -> None:
    assert hyphenated_each(uuid.hex for uuid in uuids) == [str(uuid) for uuid in uuids]
    assert [hyphenated(uuid.hex) for uuid in uuids] == [str(uuid) for uuid in uuids]


@pytest.mark.parametrize(
    "wrong",
    ["", "x" * 32, "0" * 31, "0" * 33, "0" * 31 + "é", "0" * 15 + "\n" + "0" * 16, "0" * 30 + "  ", "٠" * 32],
)
@pytest.mark.parametrize("others", [[], ["0" * 32], ["0" * 31], ["0" * 33]])
def test_what_is_no_uuid_is_refused(wrong: str, others: list[str]) -> None:
    for given_ in ([wrong, *others], [*others, wrong]):
        with pytest.raises(InvalidArgumentError, match="is no UUID"):
            digits_of_each(given_)
