"""Recipients who want nothing more: words and refusals that say so, and what is done about it at once.

A word counts only as the whole message, whatever its case, width, accents and punctuation: `Stop!` is one,
`Don't stop` is none. What is found here suppresses in the transaction that stores the event.
"""

import os
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy import Connection

from clarion.errors import SettingError
from clarion.ledger.answer_tables import EVENT
from clarion.ledger.suppressed_items import count_moves
from clarion.ledger.suppressions import (
    BY_WORD,
    NewSuppression,
    add_suppressions,
    by_word,
    remove_suppressions,
)
from clarion.receiving.incoming import IncomingEvent
from clarion.suppression import of_event

OPT_OUT_SETTING = "CLARION_OPT_OUT_WORDS"
OPT_IN_SETTING = "CLARION_OPT_IN_WORDS"
CODES_SETTING = "CLARION_OPT_OUT_CODES"
NONE = "none"

LONGEST_MESSAGE = 100
"""Characters from which on nothing is a word any more."""

WORDS_BY_LANGUAGE = {
    "carriers": ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPT OUT"),
    "ar": ("توقف", "إلغاء الاشتراك"),
    "cs": ("ODHLÁSIT",),
    "da": ("AFMELD", "STOP ALT"),
    "de": ("STOPP", "ABMELDEN", "ABBESTELLEN", "AUSTRAGEN"),
    "el": ("ΣΤΟΠ", "ΔΙΑΓΡΑΦΗ"),
    "en": (
        "UNSUB",
        "REMOVE",
        "REMOVE ME",
        "PLEASE REMOVE ME",
        "REMOVE ME PLEASE",
        "OPT ME OUT",
        "OPT OUT PLEASE",
        "PLEASE OPT ME OUT",
        "STOP IT",
        "STOP NOW",
        "STOP THIS",
        "STOP PLEASE",
        "PLEASE STOP",
        "STOP THANKS",
        "STOP THANK YOU",
        "STOP TEXTING",
        "STOP TEXTING ME",
        "STOP MESSAGING ME",
        "UNSUBSCRIBE ME",
        "UNSUBSCRIBE PLEASE",
        "PLEASE UNSUBSCRIBE",
        "PLEASE UNSUBSCRIBE ME",
        "TAKE ME OFF",
    ),
    "es": ("BAJA", "ALTO", "PARAR", "CANCELAR", "DARME DE BAJA"),
    "fi": ("LOPETA", "PERU"),
    "fr": ("ARRÊT", "ARRÊTER", "ARRÊTEZ", "DÉSABONNER", "DÉSINSCRIRE", "ANNULER"),
    "he": ("הסר", "הסרה"),
    "hi": ("बंद",),
    "it": ("CANCELLA", "CANCELLAMI", "DISISCRIVI", "DISISCRIVIMI", "FERMA", "BASTA"),
    "ja": ("停止", "配信停止", "解除"),
    "ko": ("수신거부", "중지"),
    "nb": ("AVMELD", "STOPP ALT"),
    "nl": ("AFMELDEN", "UITSCHRIJVEN", "STOPPEN"),
    "pl": ("WYPISZ", "REZYGNUJĘ"),
    "pt": ("SAIR", "REMOVER", "DESCADASTRAR", "CANCELAR INSCRIÇÃO"),
    "ru": ("СТОП", "ОТПИСАТЬСЯ", "ОТПИСКА"),
    "sv": ("AVREGISTRERA", "AVSLUTA", "SLUTA"),
    "tr": ("İPTAL", "DUR", "RET"),
    "zh": ("退订", "退訂", "取消订阅", "TD"),
}
"""What people write who want nothing more. `carriers` are the words that networks act upon everywhere."""

OPT_IN_WORDS = ("START", "UNSTOP", "SUBSCRIBE", "RESUBSCRIBE", "OPT IN")
"""What takes an opt-out word back. Not YES: that answers the campaign."""

CODES = ("1240", "21610")
"""Refusals because of an opt-out: of Vonage's Messages API, of Twilio."""


def word_key(text: str) -> str:
    """What is left of a word where case, width, accents, punctuation and blanks do not count.

    Letters of other alphabets that look like Latin ones are those.
    """
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", "".join(char for char in letters if _counts(char))).translate(_ALIKE)


_ALIKE = str.maketrans("асеіјорѕтухοερταικ", "aceijopstyxoeptaik")  # that is what they are
"""Cyrillic and Greek letters that look like Latin ones, as capitals too."""


def _counts(char: str) -> bool:
    """Letters and digits count, and the vowel signs that are letters; accents and invisible marks do not."""
    return char.isalnum() or unicodedata.category(char) == "Mc"


DEFAULT_WORDS = frozenset(word_key(word) for words in WORDS_BY_LANGUAGE.values() for word in words)
"""As `is_opt_out` compares them."""


def is_opt_out(text: str | None, words: Collection[str] = DEFAULT_WORDS) -> bool:
    """Whether a message is nothing but one of some words, once or several times.

    Args:
        text: What the recipient wrote.
        words: As `word_key` spells them.
    """
    if text is None or len(text) > LONGEST_MESSAGE:
        return False
    key = word_key(text)
    return key in words or key[: (key + key).find(key, 1)] in words  # the shortest text that it repeats


def opt_out_words() -> frozenset[str]:
    """The words that suppress: CLARION_OPT_OUT_WORDS, else those of all languages."""
    return _words(OPT_OUT_SETTING, os.environ.get(OPT_OUT_SETTING), DEFAULT_WORDS)


def opt_in_words() -> frozenset[str]:
    """The words that take an opt-out word back: CLARION_OPT_IN_WORDS, else the usual ones."""
    default = frozenset(map(word_key, OPT_IN_WORDS))
    return _words(OPT_IN_SETTING, os.environ.get(OPT_IN_SETTING), default)


def opt_out_codes() -> frozenset[str]:
    """The error codes that say that a recipient has opted out: CLARION_OPT_OUT_CODES, else the known ones."""
    return _words(CODES_SETTING, os.environ.get(CODES_SETTING), frozenset(CODES))


def check_settings() -> None:
    """Raises SettingError where a setting is no list of words or codes, before anything goes or comes."""
    opt_out_words()
    opt_in_words()
    opt_out_codes()


@lru_cache(maxsize=16)
def _words(setting: str, given: str | None, default: frozenset[str]) -> frozenset[str]:
    """Words between commas instead of the default ones, after a `+` beside them; `none` for none."""
    if given is None or given.strip().casefold() == NONE:
        return default if given is None else frozenset()
    words = [word_key(each) for each in given.removeprefix("+").split(",")]
    if not all(words):
        raise SettingError(
            f"{given!r} is not valid",
            where=setting,
            expected=f"words between commas, the same after a + to add to the usual ones, or {NONE}",
        )
    return frozenset(words) | (default if given.startswith("+") else frozenset())


def is_opt_out_code(code: str | None, codes: Collection[str]) -> bool:
    """Whether an error code says that the recipient has opted out; a URL's fragment counts as its code."""
    return code is not None and code.rpartition("#")[2] in codes


def suppress_opt_outs(connection: Connection, endpoint: str, events: Sequence[IncomingEvent]) -> None:
    """Suppresses whoever says in an event that they want nothing more, and lets back who asks for that.

    Args:
        connection: The transaction that stores the events; they are stored by now.
        endpoint: Where they came in.
        events: Those that are new: a STOP that is delivered twice must not suppress anew whom a person has
            taken off the list in between.
    """
    out, back, codes = opt_out_words(), opt_in_words(), opt_out_codes()
    telling = [event for event in events if event.recipient and _tells(event, {*out, *back}, codes)]
    if not telling:
        return
    uids = _uids(connection, endpoint, telling)
    who = f"endpoint {endpoint}"
    for event in telling:
        recipient, uid = str(event.recipient), uids.get(event.provider_event_id, "unknown")
        word = event.type == "recipient-response"
        if word and is_opt_out(event.text, back) and not is_opt_out(event.text, out):
            reason = of_event("opt-in word", uid)
            remove_suppressions(connection, recipient, by_word(), reason=reason, who=who)
        else:
            what = BY_WORD if word else f"refused with {event.error_code}"
            new = NewSuppression(recipient=recipient, reason=of_event(what, uid), who=who)
            count_moves(connection, add_suppressions(connection, [new]).changes)


def _tells(event: IncomingEvent, words: Collection[str], codes: Collection[str]) -> bool:
    if event.type == "recipient-response":
        return is_opt_out(event.text, words)
    return is_opt_out_code(event.error_code, codes)


def _uids(connection: Connection, endpoint: str, events: Iterable[IncomingEvent]) -> dict[str, str]:
    stored = sa.select(EVENT.c.provider_event_id, EVENT.c.uid).where(
        EVENT.c.endpoint == endpoint,
        EVENT.c.provider_event_id.in_([event.provider_event_id for event in events]),
    )
    return dict(connection.execute(stored).tuples().all())
