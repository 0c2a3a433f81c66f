"""Opt-out words: what is one, what is none, and how a person changes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion import optout
from clarion.errors import SettingError
from clarion.optout import (
    DEFAULT_WORDS,
    LONGEST_MESSAGE,
    OPT_IN_WORDS,
    WORDS_BY_LANGUAGE,
    is_opt_out,
    is_opt_out_code,
    opt_in_words,
    opt_out_codes,
    opt_out_words,
    word_key,
)

EVERY_WORD = [word for words in WORDS_BY_LANGUAGE.values() for word in words]


@pytest.mark.parametrize(
    "text",
    ["STOP", "stop", " Stop! ", "\uff33\uff34\uff2f\uff30", "S.T.O.P.", "«stop»", "stop all", "STOPALL",
     "Arrêt", "arret", "unsubscribe.", "BAJA", "İptal", "iptal", "СТОП", "退订", "End", "opt-out", "STOP 🙏",
     "STOP STOP", "stop, stop, STOP!", "stopstop", "стоп стоп", "Unsubscribe me", "stop please", "STOP now",
     "ST\u041eP", "\u0405TOP", "S\u03a4\u039fP", "\u0441\u0442\u043e\u043f", "\u03c3\u03c4\u03bf\u03c0"],
)  # fmt: skip
def test_word_is_one_however_it_is_written(text: str):
    """Case, width, accents, punctuation and blanks do not count, nor how often, nor whose letters."""
    assert is_opt_out(text)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "!",
        "Don't stop",
        "stop calling me Bob",
        "the end",
        "yes",
        "cancel my order 17",
        "bus stop",
        "stop end",
        "stopsto",
        "non stop",
        "stop and go",
        "unsubscribe me from job alerts only",
    ],
)
def test_word_counts_only_as_the_whole_message(text: str | None):
    """Whoever says more than the word says something else."""
    assert not is_opt_out(text)


def test_long_message_is_no_word():
    """However it is padded: nobody looks through a book."""
    assert is_opt_out("stop" + "." * (LONGEST_MESSAGE - 4))
    assert not is_opt_out("stop" + "." * (LONGEST_MESSAGE - 3))


@given(st.sampled_from(EVERY_WORD), st.sampled_from([str.upper, str.lower, str.title, str.swapcase]))
def test_every_word_is_found_in_every_case(word: str, spelled: object):
    """In all languages that have cases, and in the others."""
    assert is_opt_out(f" {spelled(word)}. ")  # type: ignore[operator]


def test_words_are_never_empty_and_never_opt_in_words():
    """An empty word would suppress whoever sends a smiley."""
    assert "" not in DEFAULT_WORDS
    assert not DEFAULT_WORDS & {word_key(word) for word in OPT_IN_WORDS}
    assert not is_opt_out("yes", {word_key(word) for word in OPT_IN_WORDS})


@given(st.text(max_size=20))
def test_key_of_a_key_is_itself(text: str):
    """What was made ready for comparing compares the same."""
    assert word_key(word_key(text)) == word_key(text)


def test_setting_replaces_the_words(monkeypatch: pytest.MonkeyPatch):
    """These alone, however they are written."""
    monkeypatch.setenv("CLARION_OPT_OUT_WORDS", "Basta, ¡Ya no!")
    words = opt_out_words()
    assert is_opt_out("ya no", words)
    assert is_opt_out("BASTA", words)
    assert not is_opt_out("STOP", words)


def test_setting_adds_words_after_a_plus(monkeypatch: pytest.MonkeyPatch):
    """The usual ones stay."""
    monkeypatch.setenv("CLARION_OPT_OUT_WORDS", "+GENUG")
    assert is_opt_out("genug", opt_out_words())
    assert is_opt_out("STOP", opt_out_words())


def test_setting_takes_all_words_away(monkeypatch: pytest.MonkeyPatch):
    """For an installation whose network does all this."""
    monkeypatch.setenv("CLARION_OPT_OUT_WORDS", "none")
    monkeypatch.setenv("CLARION_OPT_IN_WORDS", "None")
    monkeypatch.setenv("CLARION_OPT_OUT_CODES", "none")
    assert opt_out_words() == opt_in_words() == opt_out_codes() == frozenset()


@pytest.mark.parametrize("given", ["", "+", "STOP,,END", "!"])
def test_setting_without_words_is_refused(monkeypatch: pytest.MonkeyPatch, given: str):
    """An empty word would be in every message; nobody must be suppressed, or not, by a typing error."""
    monkeypatch.setenv("CLARION_OPT_OUT_WORDS", given)
    with pytest.raises(SettingError, match="CLARION_OPT_OUT_WORDS"):
        opt_out_words()


def test_codes_are_those_of_the_providers(monkeypatch: pytest.MonkeyPatch):
    """As a number, as the end of the problem's URL, and as a person adds one."""
    codes = opt_out_codes()
    assert is_opt_out_code("1240", codes)
    assert is_opt_out_code("21610", codes)
    assert is_opt_out_code("https://developer.vonage.com/api-errors/messages#1240", codes)
    assert not is_opt_out_code("1250", codes)
    assert not is_opt_out_code(None, codes)
    monkeypatch.setenv(optout.CODES_SETTING, "+4711")
    assert is_opt_out_code("4711", opt_out_codes())
