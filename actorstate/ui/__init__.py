"""Pages: elements and expressions in Python, HTML with bindings for the browser.

- ``attributes``  what may stand in a tag, and how it reaches the browser
- ``elements``    the records that a page is made of, and the functions that make them
- ``forms``       forms and their fields
- ``content``     lists, tables, images, code
- ``blocks``      what is more or less than one element: foreach, match, fragment
- ``props``       which keyword is an attribute and which a style, for who takes both
- ``scopes``      where in a page the item of a foreach is known
- ``render``      records to HTML; the bindings become data attributes
- ``style.css``   how pages look unless the program says otherwise

A binding names vars; ``web/client.js`` evaluates it and touches the page when they change.
"""

from __future__ import annotations

from actorstate.ui.attributes import EVENT_KEYWORDS as EVENT_KEYWORDS, check_tag as check_tag
from actorstate.ui.blocks import foreach as foreach, fragment as fragment, match as match
from actorstate.ui.content import (
    code as code,
    divider as divider,
    image as image,
    li as li,
    ol as ol,
    pre as pre,
    progress as progress,
    table as table,
    tbody as tbody,
    td as td,
    th as th,
    thead as thead,
    tr as tr,
    ul as ul,
)
from actorstate.ui.elements import (
    Child as Child,
    Conditional as Conditional,
    Element as Element,
    Foreach as Foreach,
    Fragment as Fragment,
    button as button,
    cond as cond,
    el as el,
    heading as heading,
    hstack as hstack,
    link as link,
    text as text,
    vstack as vstack,
)
from actorstate.ui.forms import (
    Option as Option,
    checkbox as checkbox,
    form as form,
    input as input,  # noqa: A004 - the word of HTML, as ui.input
    label as label,
    number_input as number_input,
    radio as radio,
    select as select,
    slider as slider,
    textarea as textarea,
)
from actorstate.ui.props import Props as Props, sort_props as sort_props
from actorstate.ui.render import render as render, render_page as render_page
