"""The provider styles, and which one answers a path."""

from functools import lru_cache

from clarion.sandbox.providers import (
    sendgrid,
    slack,
    twilio,
    vonage_messages,
    vonage_sms,
    vonage_voice,
)
from clarion.sandbox.providers.style import Style

STYLES: tuple[Style, ...] = (
    vonage_messages.STYLE,
    vonage_sms.STYLE,
    vonage_voice.STYLE,
    twilio.STYLE,
    sendgrid.STYLE,
    slack.STYLE,
)


@lru_cache(maxsize=1024)
def style_of(path: str) -> Style:
    """The style whose path this is; the Messages API for every other path."""
    return next((style for style in STYLES if style.path.search(path)), vonage_messages.STYLE)
