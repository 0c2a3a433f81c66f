"""Tokens: short, as they were made, or none at all."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clarion.links.stems import CODE_BYTES
from clarion.links.tokens import LinkToken, Signer, UnsubscribeToken, varint
from clarion.templating.links import UNSUBSCRIBE_SCOPES

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
KEY = b"k" * 32
SIGNER = Signer("link", key=KEY)

ids = st.integers(0, 2**62)
codes = st.binary(min_size=CODE_BYTES, max_size=CODE_BYTES)
link_tokens = st.builds(
    LinkToken,
    run_id=ids,
    run_item_id=ids,
    code=codes,
    rest=st.text(st.characters(exclude_categories=["Cs"])),
    step=st.integers(0, 300),
)
unsubscribe_tokens = st.builds(
    UnsubscribeToken,
    run_id=ids,
    run_item_id=ids,
    code=codes,
    step=st.integers(0, 300),
    scope=st.sampled_from(UNSUBSCRIBE_SCOPES),
)


@given(token=link_tokens)
def test_link_token_comes_back_whole(token: LinkToken):
    """Whatever is packed and signed is read again."""
    assert LinkToken.unpacked(SIGNER.body(SIGNER.token(token.packed())) or b"") == token


@given(token=unsubscribe_tokens)
def test_unsubscribe_token_comes_back_whole(token: UnsubscribeToken):
    """Whatever is packed and signed is read again."""
    assert UnsubscribeToken.unpacked(SIGNER.body(SIGNER.token(token.packed())) or b"") == token


@given(token=link_tokens, data=st.data())
def test_token_that_was_changed_is_none(token: LinkToken, data: st.DataObject):
    """Any change of any character, one more or one less: it is no token."""
    text = SIGNER.token(token.packed())
    place = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.sampled_from(ALPHABET + "=+/.% \x00é"))
    changed = data.draw(
        st.sampled_from(
            [
                text[:place] + character + text[place + 1 :],
                text[:place] + character + text[place:],
                text[:place] + text[place + 1 :],
                text[:place],
                text + character,
            ]
        )
    )
    assume(changed != text)
    assert SIGNER.body(changed) is None


@given(text=st.text(st.sampled_from(ALPHABET), max_size=60))
def test_token_that_was_made_up_is_none(text: str):
    """Nobody guesses a token."""
    assert SIGNER.body(text) is None


@given(body=st.binary(max_size=40), key=st.binary(min_size=32, max_size=32), purpose=st.sampled_from("abc"))
def test_token_of_another_key_or_purpose_is_none(body: bytes, key: bytes, purpose: str):
    """An unsubscribe link is no redirect, and another installation's link is none here."""
    assert SIGNER.body(Signer(purpose, key=KEY).token(body)) is None
    assume(key != KEY)
    assert SIGNER.body(Signer("link", key=key).token(body)) is None


@given(body=st.binary(max_size=60))
def test_token_ends_in_a_letter_or_digit(body: bytes):
    """What makes links of texts leaves a dash at the end out."""
    assert SIGNER.token(body)[-1].isalnum()


@given(body=st.binary(max_size=40))
def test_body_that_is_no_token_is_none(body: bytes):
    """Bytes that were signed for something else raise nothing."""
    for kind in (LinkToken, UnsubscribeToken):
        token = kind.unpacked(body)
        assert token is None or token.packed() == body or kind.unpacked(token.packed()) == token


@pytest.mark.parametrize(
    ("run_id", "run_item_id", "most"),
    [(1, 1, 18), (100, 1_000_000, 22), (10_000, 250_000_000, 23), (1_000_000, 30_000_000_000, 26)],
)
def test_token_of_a_fixed_link_is_short(run_id: int, run_item_id: int, most: int):
    """A text message has 160 characters: the token of a link takes these of them."""
    for code in range(200):
        token = LinkToken(run_id=run_id, run_item_id=run_item_id, code=code.to_bytes(3), rest="")
        assert len(SIGNER.token(token.packed())) <= most
        later = SIGNER.token(replace(token, step=1 + code % 100).packed())
        assert len(later) <= len(SIGNER.token(token.packed())) + 3


def test_token_that_is_far_too_long_is_not_looked_at():
    """The longest token that is made is far shorter."""
    assert SIGNER.body("A" * 5_000) is None
    assert SIGNER.body(SIGNER.token(b"x" * 2_900)) is not None


@given(number=ids)
def test_number_takes_few_bytes(number: int):
    """Seven bits a byte."""
    assert len(varint(number)) == max(1, -(-number.bit_length() // 7))
