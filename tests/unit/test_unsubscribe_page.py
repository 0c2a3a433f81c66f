"""The unsubscribe page: its words, and what a browser may do with it."""

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import fields

import pytest

from clarion.links.unsubscribe_page import HEADERS, WORDS, Words, ask, language_of, tell_done, tell_unknown


@pytest.mark.parametrize("language", WORDS)
@pytest.mark.parametrize("page", [ask, tell_done, tell_unknown])
def test_page_is_whole_in_each_language(page: Callable[[str], str], language: str):
    """One heading, a title, its language; no script, nothing from elsewhere."""
    html = page(language)
    assert html.startswith(f'<!doctype html>\n<html lang="{language}">')
    assert html.count("<h1>") == html.count("<main>") == html.count("<title>") == 1
    assert not re.search(r"<script|<img|<link|<iframe|@import|url\(|src=|href=|http:|https:|\son\w+=", html)


def test_page_asks_with_one_button():
    """A form that posts to where the page is; the pages after it have none."""
    assert ask("en").count('<form method="post"><button type="submit">Unsubscribe</button></form>') == 1
    assert "<form" not in tell_done("en") + tell_unknown("en")


def test_page_may_load_nothing_but_its_own_style():
    """The policy's hash is that of the style on the page."""
    style = re.search(r"<style>(.*?)</style>", ask("en"), re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert HEADERS["content-security-policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )


def test_words_are_there_in_each_language():
    """No language lacks a sentence, and none has another's."""
    for field in fields(Words):
        said = [getattr(words, field.name) for words in WORDS.values()]
        assert all(said)
        assert len(set(said)) == len(said)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"), ("de", "de"), ("de-AT,en;q=0.8", "de"), ("DE", "de"), ("pl", "en"), ("pl,fr;q=0.5", "fr"),
        ("en;q=0.2, it;q=0.9", "it"), ("nl;q=0", "en"), ("*", "en"), ("de;q=x,es", "es"),
        ("fr;q=0.5,es;q=0.5", "fr"), (",,;;q=", "en"), ("x" * 9_999, "en"), ("zh-Hant-TW,pt-BR;q=0.7", "pt"),
    ],
)  # fmt: skip
def test_language_is_what_the_browser_likes_best(header: str, language: str):
    """Of the page's languages; English for all others."""
    assert language_of(header) == language
