"""Templates: Jinja2, sandboxed, strict about what is missing, and never rendered from an item's values."""

from clarion.templating.compiled import Compiled, compile_text, compile_value
from clarion.templating.headers import check_header_name, check_header_value
from clarion.templating.limits import MAX_SIZE
from clarion.templating.sms import sms_parts, sms_segments
from clarion.templating.syntax import SCOPES

__all__ = [
    "MAX_SIZE",
    "SCOPES",
    "Compiled",
    "check_header_name",
    "check_header_value",
    "compile_text",
    "compile_value",
    "sms_parts",
    "sms_segments",
]
