"""How many messages a text is billed as, and how to cut it to fit.

After 3GPP TS 23.038 and 23.040: a text whose characters are all in the GSM 7-bit alphabet has 160 septets in
one message and 153 in each part of a longer one; any other text goes as UCS-2 with 70 and 67 code units.
Characters of the extension table (the euro sign, brackets, braces) take two septets, characters outside the
basic plane (most emoji) two code units, and neither is split across parts.
"""

import unicodedata
from collections.abc import Iterator

from clarion.errors import RenderError

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = "\f^{}\\[~]|€"
_SEPTETS = dict.fromkeys(_BASIC, 1) | dict.fromkeys(_EXTENSION, 2)

_ONE_GSM, _PART_GSM = 160, 153
_ONE_UCS2, _PART_UCS2 = 70, 67
_BASIC_PLANE_END = 0xFFFF

_JOINER = "\u200d"
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_TAGS = range(0xE0020, 0xE0080)
_REGIONAL_INDICATORS = range(0x1F1E6, 0x1F200)


def sms_parts(text: str) -> list[str]:
    """The text as a network would split it: joined together they are the text; an empty text has none."""
    gsm = all(char in _SEPTETS for char in text)
    one, each = (_ONE_GSM, _PART_GSM) if gsm else (_ONE_UCS2, _PART_UCS2)
    sizes = [_SEPTETS[char] if gsm else _code_units(char) for char in text]
    if sum(sizes) <= one:
        return [text] if text else []
    parts, start, filled = [], 0, 0
    for index, size in enumerate(sizes):
        if filled + size > each:
            parts.append(text[start:index])
            start, filled = index, 0
        filled += size
    return [*parts, text[start:]]


def sms_segments(text: str) -> int:
    """The number of messages that the text is billed as."""
    return len(sms_parts(text))


def sms_truncate(text: str, *, segments: int, end: str) -> str:
    """The text, cut between characters as people see them so that it fits with its `end`.

    `end` counts, and so does what it does to the alphabet: `…` is not in the GSM alphabet, and a text that
    ends in it has 70 characters in a message instead of 160.

    Raises:
        RenderError: Not even `end` fits.
    """
    if sms_segments(text) <= segments:
        return text
    if sms_segments(end) > segments:
        raise RenderError("sms_truncate: the end alone is longer than the segments")
    cuts = [0, *_boundaries(text)]
    # More text is never fewer segments, in either alphabet and across the change from one to the other.
    fitting, too_long = 0, len(cuts)
    while too_long - fitting > 1:
        middle = (fitting + too_long) // 2
        fits = sms_segments(text[: cuts[middle]].rstrip() + end) <= segments
        fitting, too_long = (middle, too_long) if fits else (fitting, middle)
    return text[: cuts[fitting]].rstrip() + end


def _boundaries(text: str) -> Iterator[int]:
    """Where a text can be cut without breaking an accent off its letter, or a family of emoji apart."""
    flags = 0
    for index in range(1, len(text)):
        before, after = text[index - 1], text[index]
        flags = flags + 1 if ord(before) in _REGIONAL_INDICATORS else 0
        within_flag = flags % 2 == 1 and ord(after) in _REGIONAL_INDICATORS
        if not (within_flag or before == _JOINER or _continues(after) or (before, after) == ("\r", "\n")):
            yield index


def _continues(char: str) -> bool:
    code = ord(char)
    return char == _JOINER or unicodedata.category(char)[0] == "M" or code in _SKIN_TONES or code in _TAGS


def _code_units(char: str) -> int:
    return 2 if ord(char) > _BASIC_PLANE_END else 1
