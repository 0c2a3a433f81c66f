"""What the spellings of an address have in common, so that answers and suppressions find whom they mean.

A list says `+44 7700 900123`, a provider `447700900123`, a person `0044 (0)7700 900123`: nobody here asks a
numbering plan, because an answer comes without a country. So a number without its country code is another
address than the one with it; recipients of type phone always have theirs.
"""

import re
import unicodedata

FEWEST_DIGITS = 5
"""A short code has five or six; what is shorter is no phone number but an id."""

_SCHEME = re.compile(r"(?:(?:tel|sms|whatsapp|mailto):)+", re.IGNORECASE)
_SEPARATORS = dict.fromkeys(
    map(
        ord,
        " \t\u00a0\u2009\u202f\u200b\u200e\u200f\u202a\u202c\u2060\ufeff"  # blanks and invisible marks
        "-./\u00b7\u2010\u2011\u2012\u2013\u2014\u2212",  # dashes and dots
    )
)
_BRACKETS = dict.fromkeys(map(ord, "()"))
_DIALLED_AT_HOME = re.compile(r"\A(\(?(?:\+|00)\(?(?!39|37[89])[1-9]\d{0,2}\)?)\(0\)", re.ASCII)
"""A country code and the zero that is dialled within that country alone. In Italy, San Marino and the Vatican
it belongs to the number."""

_PHONE = re.compile(r"\+?(?:00)*(\d+)", re.ASCII)
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+")


def address_of(recipient: str) -> str:
    """The one spelling by which an address is stored and compared; it is its own.

    A phone number (nothing but digits and separators, at least five digits, perhaps after `tel:`, `sms:` or
    `whatsapp:`) is its digits without `+` or `00`, nor a `(0)` after its country code; an e-mail address
    (perhaps after `mailto:`) is in lower case; anything else is itself without the blanks at its ends.
    """
    if recipient[:1] == "+" and recipient[1:2] != "0" and len(recipient) > FEWEST_DIGITS:
        digits = recipient[1:]
        if digits.isascii() and digits.isdigit():  # E.164, as almost all are: 0.5 us instead of 3
            return digits
    text = recipient.strip()
    plain = _SCHEME.sub("", text, count=1) if _SCHEME.match(text) else text
    return _phone(plain) or _email(plain) or text


def _phone(text: str) -> str | None:
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(char, char)) for char in unicodedata.normalize("NFKC", text))
    spelled = text.translate(_SEPARATORS)
    if "(0)" in spelled:
        spelled = _DIALLED_AT_HOME.sub(r"\1", spelled, count=1)
    found = _PHONE.fullmatch(spelled.translate(_BRACKETS))
    digits = found[1] if found else ""
    return digits if len(digits) >= FEWEST_DIGITS else None


def _email(text: str) -> str | None:
    text = text.strip()
    return text.lower() if _EMAIL.fullmatch(text) else None
