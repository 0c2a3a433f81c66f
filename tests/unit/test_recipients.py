"""Recipients in one spelling."""

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.errors import RecipientError
from clarion.recipients import normalise, region_code

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("+44 7700 900123", None, "+447700900123"),
        ("+44 (0)20 7946 0018", None, "+442079460018"),
        ("07700 900123", "GB", "+447700900123"),
        ("07700 900123", "United Kingdom", "+447700900123"),
        ("7700900123", "gb", "+447700900123"),
        ("447700900123", "GB", "+447700900123"),
        ("001-508-330-1661", "Haiti", "+15083301661"),
        ("001-508-330-1661", "US", "+15083301661"),
        ("001-508-330-1661", "JP", "+15083301661"),
        ("001-508-330-1661", None, "+15083301661"),
        ("011 44 20 7946 0018", "US", "+442079460018"),
        ("0011 44 20 7946 0018", "AU", "+442079460018"),
        ("010 1 508 330 1661", "JP", "+15083301661"),
        ("(212) 555 0100 x12", "US", "+12125550100"),
        ("212.555.0100x00123", "US", "+12125550100"),
        ("212-555-0100 ext. 5", "US", "+12125550100"),
        ("tel:+1-212-555-0100;ext=5", None, "+12125550100"),
        ("0211/123456", "Germany", "+49211123456"),
        ("02 1234 5678", "IT", "+390212345678"),
        ("011 15-2345-6789", "AR", "+5491123456789"),
        ("\u0660\u0667\u0667\u0660\u0660 \u0669\u0660\u0660\u0661\u0662\u0663", "GB", "+447700900123"),
        ("\u202a+44 7700 900123\u202c", None, "+447700900123"),
        ("+44\u00a07700\u2011900123", None, "+447700900123"),
        (447700900123, "GB", "+447700900123"),
        ("+44 7700 900123", "Atlantis", "+447700900123"),
        ("+442079460018", "AQ", "+442079460018"),
    ],
)
def test_phone_number_becomes_e164(text: str | int, region: str | None, number: str):
    """However a list spells it, the number is the one that answers come from."""
    assert normalise(text, kind="phone", region=region) == number


@pytest.mark.parametrize(
    ("text", "region", "reason"),
    [
        ("", "GB", "is empty"),
        ("  ", "GB", "is empty"),
        ("n/a", "GB", "something else than digits"),
        ("1-800-FLOWERS", "US", "something else than digits"),
        ("07700 900123, 07700 900124", "GB", "something else than digits"),
        ("07700 900123 / 07700 900124", "GB", "digits"),
        ("ask for Bob: 07700 900123", "GB", "something else than digits"),
        ("0044+7700900123", "GB", "something else than digits"),
        ("07700 900123", None, "no region is given"),
        ("07700 900123", " ", "no region is given"),
        ("07700 900123", "Atlantis", "no country's code or English name"),
        ("07700 900123", "Antarctica", "AQ has no numbers of its own"),
        ("555 0100", "US", "has no area code"),
        ("+1 555 0100", None, "has no area code"),
        ("12", "GB", "few digits"),
        ("00", None, "as many digits"),
        ("000", "GB", "digits"),
        ("+1", None, "digits"),
        ("+", None, "something else than digits"),
        ("+999 123456789", None, "no country code that exists"),
        ("+0447700900123", None, "no country code that exists"),
        ("077009001234", "GB", "too many digits"),
        ("447700900123.0", "GB", "a spreadsheet"),
        ("4.47701E+11", "GB", "something else than digits"),
        ("1" * 500, "US", "too many digits"),
        ("1" * 50_000, "US", "too long"),
        (4.477e11, "GB", "neither text nor a whole number"),
        (True, "GB", "neither text nor a whole number"),
        (None, "GB", "neither text nor a whole number"),
        (["+447700900123"], None, "neither text nor a whole number"),
        (1 << 4096, None, "too long"),
    ],
)
def test_what_is_no_phone_number_is_refused(text: object, region: str | None, reason: str):
    """The reason says what is wrong and does not repeat the number."""
    with pytest.raises(RecipientError) as caught:
        normalise(text, kind="phone", region=region)
    assert reason in caught.value.message
    assert "900123" not in caught.value.message


def reference(dialled: str, region: str | None) -> str | None:
    """What the library alone makes of it."""
    try:
        number = phonenumbers.parse(dialled, region)
    except phonenumbers.NumberParseException:
        return None
    possible = (
        phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    )
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if possible else None


def outcome(dialled: str, region: str | None) -> str | None:
    """What is made of it here."""
    try:
        return normalise(dialled, kind="phone", region=region)
    except RecipientError:
        return None


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(REGIONS), st.from_regex(r"(?!00)[0-9]{4,15}", fullmatch=True))
def test_shortcut_agrees_with_the_library_within_a_region(region: str, digits: str):
    """Digits that are taken as they are, are what the library would have made of them, in every region."""
    assert outcome(digits, region) == reference(digits, region)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)),
    st.from_regex(r"[0-9]{2,13}", fullmatch=True),
    st.sampled_from([None, "US", "GB"]),
)
def test_shortcut_agrees_with_the_library_across_countries(code: int, digits: str, region: str | None):
    """The same for numbers with a country code, which need no region."""
    assert outcome(f"+{code}{digits}", region) == reference(f"+{code}{digits}", None)


@pytest.mark.parametrize("region", REGIONS)
def test_example_number_of_every_region_is_read_in_each_spelling(region: str):
    """National, international and E.164 spelling of one number are one recipient."""
    number = phonenumbers.example_number(region)
    formats = phonenumbers.PhoneNumberFormat
    spellings = {
        phonenumbers.format_number(number, spelling)
        for spelling in (formats.E164, formats.INTERNATIONAL, formats.NATIONAL, formats.RFC3966)
    }
    read = {normalise(text, kind="phone", region=region) for text in spellings}
    assert read == {phonenumbers.format_number(number, formats.E164)}


@settings(deadline=None)
@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans(), st.none() | st.text(max_size=20))
def test_nothing_but_a_recipient_error_is_raised(value: object, region: str | None):
    """Whatever a list holds, a recipient comes out that stays itself, or a RecipientError."""
    for kind in ("text", "phone", "email"):
        try:
            recipient = normalise(value, kind=kind, region=region)
        except RecipientError:
            continue
        assert normalise(recipient, kind=kind, region=None) == recipient
        assert recipient.encode()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("GB", "GB"),
        ("gbr", "GB"),
        ("826", "GB"),
        (" uk ", "GB"),
        ("USA", "US"),
        ("U.S.A.", "US"),
        ("united states of america", "US"),
        ("The Netherlands", "NL"),
        ("Haiti", "HT"),
        ("Côte d’Ivoire", "CI"),  # noqa: RUF001 - as Unicode spells it
        ("Cote d'Ivoire", "CI"),
        ("Trinidad and Tobago", "TT"),
        ("Saint Kitts and Nevis", "KN"),
        ("Slovakia (Slovak Republic)", "SK"),
        ("Holy See (Vatican City State)", "VA"),
        ("Antarctica (the territory South of 60 deg S)", "AQ"),
        ("Myanmar", "MM"),
        ("Burma", "MM"),
        ("Turkey", "TR"),
        ("Türkiye", "TR"),
        ("Macao", "MO"),
        ("Lao People's Democratic Republic", "LA"),
        ("Syrian Arab Republic", "SY"),
        ("Guinea-Bissau", "GW"),
        ("Guinea", "GN"),
        ("Dominica", "DM"),
        ("Dominican Republic", "DO"),
        ("Atlantis", None),
        ("", None),
        ("(", None),
    ],
)
def test_region_is_found_by_code_or_english_name(name: str, code: str | None):
    """Countries as lists spell them."""
    assert region_code(name) == code


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (" Ann.Smith@Example.COM ", "Ann.Smith@example.com"),
        ("a+b@sub.example.co.uk", "a+b@sub.example.co.uk"),
        ("o'brien_1@example.com", "o'brien_1@example.com"),
        ("jörg@müller.example", "jörg@müller.example"),
    ],
)
def test_email_keeps_its_local_part_and_lowers_its_domain(text: str, address: str):
    """Upper and lower case mean something before the @ only."""
    assert normalise(text, kind="email", region=None) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@@example.com",
        "a@b@example.com",
        "ann smith@example.com",
        "ann@exa mple.com",
        "ann@gmail",
        "ann@.com",
        "ann@example..com",
        "ann@example.com.",
        "ann@-example.com",
        ".ann@example.com",
        "ann..smith@example.com",
        "Ann <ann@example.com>",
        "ann@example.com, bob@example.com",
        "ann@example.com\nBcc: bob@example.com",
        "ann@example.com\0",
        "an\u200bn@example.com",
        "mailto:ann@example.com",
        "a" * 65 + "@example.com",
        "ann@" + "a" * 64 + ".com",
    ],
)
def test_what_is_no_email_address_is_refused(text: str):
    """One address, nothing around it."""
    with pytest.raises(RecipientError):
        normalise(text, kind="email", region=None)


def test_text_is_used_as_it_is():
    """An id of any other channel is not touched; a number becomes its digits."""
    assert normalise(" user-7 ", kind="text", region=None) == " user-7 "
    assert normalise(42, kind="text", region=None) == "42"
    for nothing in ("", " \t", None, True, 1.5, {}, "a\0b", "a\nb", "\ud800", "x" * 1_001):
        with pytest.raises(RecipientError):
            normalise(nothing, kind="text", region=None)
