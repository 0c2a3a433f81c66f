"""The recipient of a run item in the one spelling by which answers find it.

*Phone numbers* become E.164 (`+12125550100`). The bar is a **possible** number: a country calling code that
exists and as many digits as numbers there have. Whether the range is in service (*valid*) is not asked: that
knowledge ages with the library, so it would drop people with a newly opened prefix without a word, it costs
more than all the rest together, and the provider knows better. An **extension is dropped**: no
message or automatic call can dial it, the number before it is the line that rings, and two people behind one
switchboard are one recipient.

*E-mail addresses* are trimmed and their domain is lower-cased; the local part is kept, as its meaning is the
receiving server's. *Text* is used as it is.

No reason given here holds the recipient itself, so that reasons can be logged and counted.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import phonenumbers
from babel import Locale
from babel.core import get_global
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, PhoneNumberFormat, ValidationResult

from clarion.errors import RecipientError

Kind = Literal["text", "phone", "email"]

_EXTENSION = re.compile(r"[\s,;]*(?:extension|extn|ext|x|#)[\s.:=#]*\d{1,9}\s*$", re.IGNORECASE)
_SPREADSHEET_FLOAT = re.compile(r"\+?\d+\.0")
_BLANKS_AND_MARKS = " \t\u00a0\u2009\u202f\u200b\u200e\u200f\u202a\u202c\u2060\ufeff"
_DASHES_AND_DOTS = "()-./\u00b7\u2010\u2011\u2012\u2013\u2014\u2212"
_SEPARATORS = dict.fromkeys(map(ord, _BLANKS_AND_MARKS + _DASHES_AND_DOTS))
_PARENTHESISED = re.compile(r"\([^()]*\)")
_DIALABLE = re.compile(r"\+?\d+", re.ASCII)
# A number with its extension and some spacing is far below this; it bounds the work on what is none.
_MAX_PHONE_LENGTH = 100
# An index of PostgreSQL holds 2,700 bytes a row, and the dedupe key has the segment before the recipient.
_MAX_BYTES = 1_000

_LOCAL_PART = re.compile(r"[^\s@\"(),:;<>\[\]\\]{1,64}")
_DOMAIN = re.compile(r"(?=.{1,253}$)[^\W_](?:[\w-]{0,61}[^\W_])?(?:\.[^\W_](?:[\w-]{0,61}[^\W_])?)+")

# Names that lists use and Unicode's English names do not have. Keys as `_country_key` spells them.
_COUNTRY_ALIASES = {
    "america": "US",
    "bolivarian republic of venezuela": "VE",
    "britain": "GB",
    "brunei darussalam": "BN",
    "burma": "MM",
    "congo": "CG",
    "czech republic": "CZ",
    "democratic republic of congo": "CD",
    "east timor": "TL",
    "england": "GB",
    "great britain": "GB",
    "heard island and mcdonald islands": "HM",
    "holland": "NL",
    "holy see": "VA",
    "hong kong": "HK",
    "islamic republic of iran": "IR",
    "ivory coast": "CI",
    "korea": "KR",
    "kyrgyz republic": "KG",
    "lao peoples democratic republic": "LA",
    "libyan arab jamahiriya": "LY",
    "macao": "MO",
    "macau": "MO",
    "macedonia": "MK",
    "netherlands antilles": "CW",
    "northern ireland": "GB",
    "palestine": "PS",
    "palestinian territory": "PS",
    "plurinational state of bolivia": "BO",
    "republic of ireland": "IE",
    "republic of korea": "KR",
    "republic of moldova": "MD",
    "russian federation": "RU",
    "scotland": "GB",
    "south georgia and south sandwich islands": "GS",
    "st barthelemy": "BL",
    "st vincent and grenadines": "VC",
    "svalbard and jan mayen islands": "SJ",
    "swaziland": "SZ",
    "syrian arab republic": "SY",
    "turkey": "TR",
    "turkiye": "TR",
    "uae": "AE",
    "uk": "GB",
    "united republic of tanzania": "TZ",
    "united states minor outlying islands": "UM",
    "united states of america": "US",
    "united states virgin islands": "VI",
    "usa": "US",
    "viet nam": "VN",
    "wales": "GB",
}


def normalise(value: Any, *, kind: Kind, region: str | None) -> str:
    """The recipient as the ledger, the caps and the dedupe key know it.

    Args:
        value: What the recipient's template gave: text, or a whole number (an id, or a phone number in JSON).
        kind: `phone`, `email`, or `text` for anything else.
        region: Where a phone number without a country code is from: an ISO code (`GB`, `GBR`) or an English
            country name (`United Kingdom`), in any case. Not needed, and not checked, where the number has
            its country code.

    Raises:
        RecipientError: There is no recipient in it; the reason does not repeat the value.
    """
    text = _text(value)
    if kind == "phone":
        return e164(text, region=region)
    return _email(text.strip()) if kind == "email" else text


def e164(text: str, *, region: str | None) -> str:
    """The phone number in E.164: `+`, country code, national number; its extension is dropped.

    Args:
        text: The number as people write it: blanks, brackets, dashes, `00` or `+`, `x123` are all right.
        region: As in `normalise`.

    Raises:
        RecipientError: It is no possible phone number.
    """
    dialled = _dialled(text)
    code = region_code(region) if region else None
    known = _as_it_is(dialled, code)
    return known or phonenumbers.format_number(_read(dialled, code, region), PhoneNumberFormat.E164)


def national(text: str, *, region: str | None) -> str:
    """The phone number as it is written in its own country: `(212) 555-0100`.

    Raises:
        RecipientError: It is no possible phone number.
    """
    code = region_code(region) if region else None
    return phonenumbers.format_number(_read(_dialled(text), code, region), PhoneNumberFormat.NATIONAL)


@lru_cache(maxsize=4096)
def region_code(region: str) -> str | None:
    """The ISO 3166 alpha-2 code of a code or an English country name; None where there is none such."""
    names, code = _territories(), region.strip().upper()
    if code in names.values():
        return code
    replaced = get_global("territory_aliases").get(code, ())
    if len(replaced) == 1:
        return replaced[0]
    return names.get(_country_key(region)) or names.get(_country_key(_PARENTHESISED.sub("", region)))


@lru_cache(maxsize=1)
def _territories() -> dict[str, str]:
    names = {}
    for code, name in Locale("en").territories.items():
        if code.isalpha():
            names[_country_key(_PARENTHESISED.sub("", name))] = code
            names[_country_key(name)] = code
    return names | _COUNTRY_ALIASES


def _country_key(name: str) -> str:
    """A country's name without what lists spell differently: case, accents, `&`, `St.`, `the`, signs."""
    letters = unicodedata.normalize("NFKD", name.casefold().replace("&", " and ").replace("-", " "))
    words = "".join(char for char in letters if char.isalnum() or char.isspace()).split()
    return " ".join("st" if word == "saint" else word for word in words if word != "the")


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RecipientError("the recipient is neither text nor a whole number")
    if isinstance(value, int) and value.bit_length() > _MAX_BYTES:
        raise RecipientError("the recipient is too long")
    text = str(value)
    if not text.strip():
        raise RecipientError("the recipient is empty")
    # Of what is not printable, blanks and invisible joiners are people's business; these break a header, a
    # log line or the database.
    if not text.isprintable() and any(unicodedata.category(char) in {"Cc", "Cs"} for char in text):
        raise RecipientError("the recipient holds a control character")
    if len(text.encode()) > _MAX_BYTES:
        raise RecipientError("the recipient is too long")
    return text


def _dialled(text: str) -> str:
    """Digits, after a `+` where there was one.

    Digits are never searched for in other text: two numbers in a cell, or a note beside one, are an error
    rather than a guess.
    """
    text = text.strip()
    if len(text) > _MAX_PHONE_LENGTH:
        raise RecipientError("the phone number has too many digits")
    if _DIALABLE.fullmatch(text):
        return text
    if not text.isascii():
        text = "".join(str(unicodedata.decimal(char, char)) for char in unicodedata.normalize("NFKC", text))
    if _SPREADSHEET_FLOAT.fullmatch(text):
        raise RecipientError(
            "the phone number ends in '.0': a spreadsheet stored it as a number, store it as text"
        )
    text = text.removeprefix("tel:")
    dialled = text.translate(_SEPARATORS)
    if not _DIALABLE.fullmatch(dialled):
        dialled = _EXTENSION.sub("", text).translate(_SEPARATORS)
    if not _DIALABLE.fullmatch(dialled):
        raise RecipientError("the phone number holds something else than digits and separators")
    return dialled


@dataclass(frozen=True, slots=True)
class _DiallingPlan:
    """What decides whether the digits of a number go into E.164 as they are."""

    country_code: str
    lengths: frozenset[int]
    needs_work: re.Pattern[str]
    """What a number begins with where the library may have to drop or keep something: a zero, a prefix to
    dial abroad or within the country, the country code itself."""


def _dialling_plan(code: int, *prefixes: str | None) -> _DiallingPlan | None:
    region = phonenumbers.region_code_for_country_code(code)
    main = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    if main is None or main.general_desc is None:
        return None
    leads = "|".join(f"(?:{prefix})" for prefix in ("0", *prefixes) if prefix)
    return _DiallingPlan(str(code), frozenset(main.general_desc.possible_length), re.compile(leads))


@lru_cache(maxsize=1000)
def _international_plan(head: str) -> _DiallingPlan | None:
    """The plan of the country code that the first three digits of a number begin with."""
    for code in (int(head[:digits]) for digits in (1, 2, 3) if head[0] != "0"):
        if code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
            region = phonenumbers.region_code_for_country_code(code)
            metadata = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
            return _dialling_plan(code, metadata.national_prefix_for_parsing if metadata else None)
    return None


@lru_cache(maxsize=1000)
def _national_plan(code: str) -> _DiallingPlan | None:
    metadata = PhoneMetadata.metadata_for_region(code, None)
    if metadata is None or metadata.country_code is None:
        return None
    own, abroad = metadata.national_prefix_for_parsing, metadata.international_prefix
    return _dialling_plan(metadata.country_code, own, abroad, str(metadata.country_code))


@lru_cache(maxsize=1000)
def _dials_abroad_by_00(code: str | None) -> bool:
    metadata = PhoneMetadata.metadata_for_region(code, None) if code else None
    return metadata is None or re.fullmatch(metadata.international_prefix or "", "00") is not None


def _as_it_is(dialled: str, code: str | None) -> str | None:
    """E.164 where the digits need no work; None where the library has to be asked.

    Most numbers of most lists are such: this takes 1 us, and the library 13 us to come to the same.
    """
    if dialled.startswith("00") and dialled != "00" and _dials_abroad_by_00(code):
        dialled = f"+{dialled[2:]}"
    if dialled[0] != "+":
        plan, number = (_national_plan(code) if code else None), dialled
    elif plan := _international_plan(dialled[1:4]):
        number = dialled[1 + len(plan.country_code) :]
    if plan is None or len(number) not in plan.lengths or plan.needs_work.match(number):
        return None
    return f"+{plan.country_code}{number}"


def _read(dialled: str, code: str | None, region: str | None) -> PhoneNumber:
    """The number, possible by its length.

    Lists often write `001-...` whatever the country: digits after `00` are an international number where the
    country dials abroad by `00`, and elsewhere unless they make a valid number there.
    """
    if dialled[0] == "+":
        return _possible(dialled, None)
    if not dialled.startswith("00"):
        return _possible(dialled, _with_numbers(code, region))
    abroad = f"+{dialled[2:]}"
    if _dials_abroad_by_00(code):
        return _possible(abroad, None)
    try:
        at_home = _possible(dialled, code)
    except RecipientError:
        return _possible(abroad, None)
    try:
        return at_home if phonenumbers.is_valid_number(at_home) else _possible(abroad, None)
    except RecipientError:
        return at_home


def _with_numbers(code: str | None, region: str | None) -> str:
    if not region or not region.strip():
        raise RecipientError("the phone number has no country code and no region is given")
    if code is None:
        raise RecipientError(
            "the phone number has no country code and its region is no country's code or English name"
        )
    if code not in phonenumbers.SUPPORTED_REGIONS:
        raise RecipientError(f"the phone number has no country code and {code} has no numbers of its own")
    return code


_REASONS = {
    ValidationResult.INVALID_COUNTRY_CODE: "has no country code that exists",
    ValidationResult.TOO_SHORT: "has too few digits",
    ValidationResult.TOO_LONG: "has too many digits",
    ValidationResult.INVALID_LENGTH: "does not have the number of digits that numbers there have",
    # Seven digits in the USA: enough for a neighbour, not for us.
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "has no area code",
}


def _possible(dialled: str, region: str | None) -> PhoneNumber:
    try:
        number = phonenumbers.parse(dialled, region)
    except NumberParseException as error:
        if error.error_type == NumberParseException.INVALID_COUNTRY_CODE:
            raise RecipientError("the phone number has no country code that exists") from None
        raise RecipientError("the phone number does not have as many digits as a phone number") from None
    result = phonenumbers.is_possible_number_with_reason(number)
    if result != ValidationResult.IS_POSSIBLE:
        raise RecipientError(f"the phone number {_REASONS[result]}")
    return number


def _email(text: str) -> str:
    """One address, without a display name.

    The domain needs a dot: `@gmail` is a typing error far more often than a host of one's own network.
    """
    local, at, domain = text.rpartition("@")
    if not at or "@" in local:
        raise RecipientError("the e-mail address does not have exactly one @")
    if not _LOCAL_PART.fullmatch(local) or not local.isprintable() or "" in local.split("."):
        raise RecipientError("the e-mail address is not valid before its @")
    if not _DOMAIN.fullmatch(domain):
        raise RecipientError("the e-mail address is not valid after its @")
    return f"{local}@{domain.lower()}"
