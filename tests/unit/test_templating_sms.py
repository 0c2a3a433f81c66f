"""Counting and cutting text messages."""

import unicodedata
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clarion.errors import RenderError
from clarion.templating import sms_parts, sms_segments
from clarion.templating.names import title
from clarion.templating.sms import sms_truncate

GSM = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡AZÄÖÑÜ§¿azäöñüà"
texts = st.text(st.sampled_from(GSM + "€[]{}^~\\|\f"), max_size=500) | st.text(
    st.sampled_from("ab é€[😀👍🏽e\u0301ş日"), max_size=300
)


def septets(text: str) -> int:
    """The length in the GSM alphabet."""
    return sum(2 if char in "€[]{}^~\\|\f" else 1 for char in text)


def code_units(text: str) -> int:
    """The length in UCS-2."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 0),
        ("a", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("€" * 152, 2),
        ("€" * 153, 3),  # an escape is not split: 76 in a part, not 76.5
        ("ş" * 70, 1),
        ("ş" * 71, 2),
        ("ş" * 134, 2),
        ("ş" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 66, 2),
        ("😀" * 67, 3),  # nor is a surrogate pair: 33 in a part, not 33.5
        ("a" * 69 + "…", 1),
        ("ç" * 70, 1),  # the alphabet has the capital only
        ("ç" * 71, 2),
        ("`" * 71, 2),
        ("à" * 160, 1),
    ],
)
def test_segments_are_counted_as_networks_bill_them(text: str, segments: int):
    """Limits of both alphabets, with escapes and surrogate pairs at the edge."""
    assert sms_segments(text) == segments


@settings(deadline=None)
@given(texts)
def test_parts_together_are_the_text_and_each_fits(text: str):
    """No part is too long, none splits a character, and none could have taken one more."""
    parts = sms_parts(text)
    assert "".join(parts) == text
    gsm = all(char in GSM + "€[]{}^~\\|\fABCDEFGHIJKLMNOPQRSTUVWXYZbcdefghijklmnopqrstuvwxy" for char in text)
    size = septets if gsm else code_units
    limit = (160 if gsm else 70) if len(parts) < 2 else (153 if gsm else 67)
    assert all(0 < size(part) <= limit for part in parts)
    assert all(size(part + following[0]) > limit for part, following in pairwise(parts))


@settings(deadline=None)
@given(texts, st.integers(1, 3), st.sampled_from(["...", "…", "", " [more]"]))
def test_truncated_text_fits_and_is_cut_as_late_as_possible(text: str, segments: int, end: str):
    """What is cut is a beginning of the text with the end; what fits stays whole."""
    result = sms_truncate(text, segments=segments, end=end)
    assert sms_segments(result) <= segments
    if sms_segments(text) <= segments:
        assert result == text
        return
    assert result.endswith(end)
    kept = result[: len(result) - len(end)]
    assert text.startswith(kept)
    rest = text[len(kept) :].lstrip()
    assume(rest)
    assert not unicodedata.combining(text[len(kept)])
    assert sms_segments(text[: len(text) - len(rest)] + rest[:4] + end) > segments


@pytest.mark.parametrize("whole", ["e\u0301", "👍🏽", "👨\u200d👩\u200d👧", "🇬🇧", "✌\ufe0f", "1\ufe0f\u20e3"])
def test_truncated_text_never_ends_within_a_character(whole: str):
    """An accent stays with its letter, and a family of emoji together."""
    for before in range(60, 71):
        result = sms_truncate("ş" * before + whole * 12, segments=1, end="")
        assert result.removeprefix("ş" * before) == whole * result.count(whole)


def test_truncated_text_pays_for_its_end():
    """An ellipsis outside the GSM alphabet makes 70 of 160 characters."""
    assert len(sms_truncate("a" * 200, segments=1, end="...")) == 160
    assert len(sms_truncate("a" * 200, segments=1, end="…")) == 70
    assert sms_truncate("a" * 156 + " " + "b" * 10, segments=1, end="...") == "a" * 156 + "..."
    with pytest.raises(RenderError, match="the end alone is longer"):
        sms_truncate("a" * 200, segments=1, end="…" * 71)


@pytest.mark.parametrize(
    ("given_name", "written"),
    [
        ("mc donald", "Mc Donald"),
        ("McDonald", "McDonald"),
        ("o'brien", "O'Brien"),
        ("O’BRIEN", "O’Brien"),  # noqa: RUF001 - a typographic apostrophe, as phones write it
        ("josé", "José"),
        ("ÁNGEL", "Ángel"),
        ("jose\u0301", "Jose\u0301"),
        ("anne-marie", "Anne-Marie"),
        ("john's", "John's"),
        ("d'angelo", "D'Angelo"),
        ("ludwig van beethoven", "Ludwig Van Beethoven"),
        ("j.r.r. tolkien", "J.R.R. Tolkien"),
        ("  ", "  "),
        ("ß", "Ss"),
        ("王小明", "王小明"),
        ("(anna)", "(Anna)"),
    ],
)
def test_title_writes_names_as_people_do(given_name: str, written: str):
    """Capitals after blanks, hyphens and elisions; mixed case is its owner's."""
    assert title(given_name) == written
