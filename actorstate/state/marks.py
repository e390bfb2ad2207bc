"""Marks: how an expression stands in a Python text, so that f-strings can hold it.

``f"Count: {MyState.counter}"`` is computed by Python before anybody sees it, and gives a plain
``str``. So an expression formats itself as a mark, which carries its JSON form; whoever takes
text for a page splits it at its marks. Nobody can forge a mark by what he types: it begins with a
number that this process drew, and that no page ever shows.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import Any, Final

_NONCE: Final = secrets.token_hex(16)
# Unicode promises that these two will never be characters; JSON in ASCII has neither.
_MARK: Final = re.compile(f"\ufdd0{_NONCE}(.*?)\ufdd1")


def mark(form: object) -> str:
    """Give the mark that carries a JSON form."""
    return f"\ufdd0{_NONCE}{json.dumps(form)}\ufdd1"


def is_marked(text: str) -> bool:
    """Tell whether a text has marks in it, or what Python made of some."""
    return _NONCE in text.lower()


def split_marks(text: str) -> tuple[list[str], list[Any]]:
    """Split a text at its marks.

    Returns:
        the texts around the marks, one more than there are marks; and the forms they carry.

    Raises:
        TypeError: a mark is damaged: Python changed the text that has it.
    """
    pieces = _MARK.split(text)
    texts, forms = pieces[0::2], pieces[1::2]
    try:
        found = [json.loads(form) for form in forms]
    except ValueError:
        found = None
    if found is None or any(map(is_marked, texts)):
        message = (
            "a text that holds an expression was changed before it was shown, but its text is not "
            "known yet: write MyState.name.upper() instead of f'{MyState.name}'.upper(), and do "
            "not cut or pad such a text"
        )
        raise TypeError(message)
    return texts, found
