"""A set on disk is a set."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.keyset import KeySet

KEYS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
    | st.sampled_from(["", "7", "007", "7.0", "null", '"', "\\", "a'b", "é", "e\u0301", "ÅNGSTRÖM", "💥"]),
    max_size=20,
)


@settings(deadline=None)
@given(batches=st.lists(KEYS, max_size=4), wanted=KEYS)
def test_keyset_is_a_set(batches: list[list[str]], wanted: list[str]):
    """What is found is what was added and asked for: no more, no less, by every character."""
    with KeySet() as keys:
        for batch in batches:
            keys.add(iter(batch))
        added = {key for batch in batches for key in batch}
        assert keys.found(iter(wanted)) == added & set(wanted)


def test_keyset_takes_its_file_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing is left in the temporary folder once the set is closed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with KeySet() as keys:
        keys.add(["a"])
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
