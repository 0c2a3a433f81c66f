"""Addresses: one spelling for each, whoever spells it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.addresses import address_of

digits = st.text("0123456789", min_size=5, max_size=15).filter(lambda text: not text.startswith("0"))
separators = st.text(" .-/\u00a0\u202f\u2011", max_size=2) | st.sampled_from([" (", ") "])


@pytest.mark.parametrize(
    ("recipient", "address"),
    [
        ("+447700900123", "447700900123"),
        ("00447700900123", "447700900123"),
        ("+44 (7700) 900-123", "447700900123"),
        ("\u202a+44\u00a07700\u00a0900123\u202c", "447700900123"),
        ("\uff14\uff14\uff17\uff17\uff10\uff10\uff19\uff10\uff10\uff11\uff12\uff13", "447700900123"),
        ("tel:+447700900123", "447700900123"),
        ("+44 (0)7700 900123", "447700900123"),
        ("+44(0)7700900123", "447700900123"),
        ("0044 - ( 0 ) 7700 900123", "447700900123"),
        ("(+44) (0)7700 900123", "447700900123"),
        ("+353\u00a0(0)86 123 4567", "353861234567"),
        ("+39 (0)6 1234 5678", "390612345678"),
        ("(0)7700 900123", "07700900123"),
        ("+44 7700 (0) 900123", "4477000900123"),
        ("WhatsApp:+447700900123", "447700900123"),
        ("07700 900123", "07700900123"),
        ("84433", "84433"),
        ("8443", "8443"),
        ("+8443", "+8443"),
        ("  Ann@Example.COM ", "ann@example.com"),
        ("mailto:Ann@example.com", "ann@example.com"),
        ("Customer 7", "Customer 7"),
        (" x ", "x"),
        ("tel:abc", "tel:abc"),
        ("+", "+"),
        ("", ""),
    ],
)
def test_address_is_what_spellings_have_in_common(recipient: str, address: str):
    """Numbers are their digits, e-mail is in lower case, anything else is itself."""
    assert address_of(recipient) == address


@given(
    digits, st.lists(separators, min_size=15, max_size=15), st.sampled_from(["", "+", "00", "tel:+", "sms:"])
)
def test_address_of_a_number_does_not_depend_on_its_spelling(number: str, between: list[str], prefix: str):
    """Whatever stands between its digits, and whichever sign of a country code before them."""
    spelled = "".join(digit + gap for digit, gap in zip(number, between, strict=False))
    assert address_of(prefix + spelled) == number


@given(st.text(max_size=30) | st.from_regex(r"\A[ (]?(tel:)*\+?0*[0-9 .-]{0,12}\Z") | st.emails())
def test_address_is_its_own_address(recipient: str):
    """So that what was stored is found by what was stored; and nobody's address is empty but nobody's."""
    address = address_of(recipient)
    assert address_of(address) == address
    assert bool(address) == bool(recipient.strip())


@given(st.emails())
def test_address_of_an_email_does_not_depend_on_its_case(email: str):
    """A provider may write it in another case than the list."""
    assert address_of(email.upper()) == address_of(email.lower())
