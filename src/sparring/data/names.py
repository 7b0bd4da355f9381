"""Names of files and classes as text that every output can hold."""

import unicodedata

_ESCAPED = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories of characters that break a line, or that UTF-8 cannot hold."""
_TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Unicode's marks of direction that make following text appear in another order."""
_FIRST_BYTE, _LAST_BYTE, _OFFSET = 0xDC80, 0xDCFF, 0xDC00
"""Surrogates by which Python holds the bytes of a name that are not UTF-8 (PEP 383)."""


def shown(name: str) -> str:
    """Name with bytes that are not UTF-8, line breaks, control characters and marks that
    turn the direction of text escaped.

    Files are opened by their own name; keys, class names and messages hold this one.

    Example:
        >>> shown("caf\\udce9/a b.png"), shown("line\\nbreak")
        ('caf\\\\xe9/a b.png', 'line\\\\nbreak')
    """
    return name if name.isprintable() else "".join(map(_shown_character, name))


def _shown_character(char: str) -> str:
    if _FIRST_BYTE <= ord(char) <= _LAST_BYTE:
        return f"\\x{ord(char) - _OFFSET:02x}"
    escape = unicodedata.category(char) in _ESCAPED or unicodedata.bidirectional(char) in _TURNING
    return char.encode("unicode_escape").decode() if escape else char
