"""Names of people as they write them."""

import re

_WORD = re.compile(r"[^\s\-\u2010\u2011/.,()\"]+")
_ELISION = re.compile(r"(?<!\w)(\w)(['\u2019])(\w)(?=\w)")


def title(text: str) -> str:
    """The text with each word that is all lower or all upper case written with a capital.

    A word in mixed case (`McDonald`, `deVries`) is as its owner wants it and stays. After an elision of one
    letter the next is a capital too (`O'Brien`, `D'Angelo`), while `john's` stays one word.
    """
    return _ELISION.sub(_both_capitals, _WORD.sub(_capitalised, text))


def _capitalised(match: re.Match[str]) -> str:
    word = match[0]
    if not (word.islower() or word.isupper()):
        return word
    lead = next((index for index, char in enumerate(word) if char.isalpha()), 0)
    return word[:lead] + word[lead].title() + word[lead + 1 :].lower()


def _both_capitals(match: re.Match[str]) -> str:
    return match[1].upper() + match[2] + match[3].upper()
