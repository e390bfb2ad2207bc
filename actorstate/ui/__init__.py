"""Pages: elements and expressions in Python, HTML with bindings for the browser.

- ``attributes``  what may stand in a tag, and how it reaches the browser
- ``elements``    the records that a page is made of, and the functions that make them
- ``render``      records to HTML; the bindings become data attributes
- ``style.css``   how pages look unless the program says otherwise

A binding names vars; ``web/client.js`` evaluates it and touches the page when they change.
"""

from __future__ import annotations

from actorstate.ui.elements import (
    Child as Child,
    Conditional as Conditional,
    Element as Element,
    button as button,
    cond as cond,
    el as el,
    heading as heading,
    hstack as hstack,
    input as input,  # noqa: A004 - the word of HTML, as ui.input
    link as link,
    number_input as number_input,
    text as text,
    vstack as vstack,
)
from actorstate.ui.render import render as render, render_page as render_page
