"""What may stand in an HTTP header.

A line break in a value would end the header and let the item write the next one, or the body. RFC 9110,
section 5.5, allows no control character but the tab.
"""

import re

from clarion.errors import RenderError

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def check_header_name(name: str, *, where: str) -> None:
    """Refuse what is no header's name.

    Raises:
        RenderError: It is empty, or holds anything but letters, digits and the signs that RFC 9110 allows.
    """
    if not _NAME.fullmatch(name):
        raise RenderError(f"{where}: the header's name is not valid")


def check_header_value(value: str, *, where: str) -> None:
    """Refuse what cannot be sent as a header's value.

    Raises:
        RenderError: It holds a line break, another control character or a character outside Latin-1.
    """
    if value.isascii() and value.isprintable():
        return
    if _CONTROL.search(value):
        raise RenderError(f"{where}: the header's value holds a line break or another control character")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise RenderError(f"{where}: the header's value holds a character that is not Latin-1") from None
