"""Props: keywords of Reflex's components, as attributes, styles and events of our elements."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from actorstate import ui
from actorstate.reflex.absent import missing

# By the names of our own elements or of CSS.
_RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bg": "background",
        "bg_color": "background_color",
        "default_checked": "checked",
        "default_value": "value",
        "is_checked": "checked",
        "is_disabled": "disabled",
        "is_read_only": "readonly",
        "is_required": "required",
        "margin_x": "margin_inline",
        "margin_y": "margin_block",
        "padding_x": "padding_inline",
        "padding_y": "padding_block",
    }
)

OF_TEXT: Final[Mapping[str, str]] = MappingProxyType({"align": "text_align"})

OF_STACKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "align": "align_items",
        "direction": "flex_direction",
        "justify": "justify_content",
        "spacing": "gap",
        "wrap": "flex_wrap",
    }
)

# Choices among the looks of Reflex's components, which there are none of here.
_LOOKS: Final = frozenset(
    {"color_scheme", "high_contrast", "radius", "size", "trim", "underline", "variant", "weight"}
)

# What Reflex calls by words of its own: gaps are counted in steps there.
_PIXELS: Final = (0, 4, 8, 12, 16, 24, 32, 40, 48, 64)
_WORDS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("justify-content", "between"): "space-between",
        **{("gap", str(step)): f"{pixels}px" for step, pixels in enumerate(_PIXELS)},
    }
)

# Where a bare number is one of pixels.
_LENGTH: Final = re.compile(
    r"(?!line-|border-image-)(.*-)?(width|height|radius|gap|spacing|indent|top|right|bottom|left)"
    r"|(margin|padding|inset)(-.*)?|font-size"
)


def read_props(caller: str, given: Mapping[str, Any], renamed: Mapping[str, str]) -> dict[str, Any]:
    """Turn the props of one of Reflex's components into keywords of one of our elements.

    Raises:
        TypeError: one of them is neither an attribute, nor a style, nor an event of ours.
    """
    props = {renamed.get(one) or _RENAMED.get(one, one): value for one, value in given.items()}
    custom: dict[str, Any] = props.pop("custom_attrs", None) or {}
    inner = ui.sort_props(_checked_style(caller, props.pop("style", None)))
    outer = ui.sort_props(props)
    events = {one for one in outer.attributes if one.startswith("on_")}
    strange = [*outer.others, *(events - ui.EVENT_KEYWORDS), *inner.attributes, *inner.others]
    if strange:
        raise TypeError(missing(f"{caller}({strange[0]}=)"))
    styles = {
        name: _style(caller, name, one) for name, one in {**inner.styles, **outer.styles}.items()
    }
    return {**outer.attributes, **custom, **({"style": styles} if styles else {})}


def _checked_style(caller: str, given: Any) -> Mapping[str, Any]:
    if given is not None and not isinstance(given, Mapping):
        message = f'{caller}(style=) takes a dict such as {{"width": "8em"}}, got {given!r}'
        raise TypeError(message)
    return cast("Mapping[str, Any]", given or {})


def _style(caller: str, name: str, value: Any) -> Any:
    if isinstance(value, list | dict):
        raise TypeError(missing(f"{caller}({name}=) by the width of the screen"))
    if isinstance(value, str):
        return _WORDS.get((name, value), value)
    is_bare = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value}px" if is_bare and _LENGTH.fullmatch(name) else value


def set_looks_aside(given: Mapping[str, Any]) -> dict[str, Any]:
    """Keep choices among looks where a stylesheet of the program's own finds them."""
    return {
        f"data_{keyword}" if keyword in _LOOKS else keyword: value
        for keyword, value in given.items()
    }
