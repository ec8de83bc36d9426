"""Text as a screen or a log may have it: a name or a message steers no terminal, begins no line, and looks like what it is."""

from __future__ import annotations

import re

#: Control characters of both sets, what ends a line in Unicode, what turns the direction of text, and halves of characters.
_UNSHOWN = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_STEERS = re.compile(f"[{_UNSHOWN}]")


def safe(text: str) -> str:
    """The text with a replacement for each character that is no text; line ends and tabs are left."""
    return _STEERS.sub("\N{REPLACEMENT CHARACTER}", text)


def safe_json(text: str) -> str:
    """JSON that tells the same, with each such character as its escape; in JSON they stand in strings alone."""
    return _STEERS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
