"""Props: keywords of which some are attributes and some are styles, told apart by their names.

    >>> props = sort_props({"width": "8em", "tab_index": 1, "id": "limit", "flavour": "mint"})
    >>> props.styles, props.attributes, props.others
    ({'width': '8em'}, {'tabindex': 1, 'id': 'limit'}, {'flavour': 'mint'})

`el` takes every keyword for an attribute, as HTML has it. Who lets a page say ``width="8em"`` for
``style={"width": "8em"}`` sorts its keywords here first. Both lists are closed, so a name that is
in neither is a mistake that can be told where the element is made; to take all that is no attribute
for a style would let it vanish in the browser.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, final

from attrs import frozen

# Widths, heights, colors and the like were attributes once, and are styles now.
_ATTRIBUTE_WORDS: Final = """
    abbr accept accept-charset accesskey action allow allowfullscreen alt autocapitalize
    autocomplete autocorrect autofocus autoplay checked cite class cols colspan contenteditable
    controls coords crossorigin datetime decoding default dir dirname disabled download draggable
    enctype enterkeyhint exportparts fetchpriority for form formaction formenctype formmethod
    formnovalidate formtarget headers hidden high href hreflang id imagesizes imagesrcset inert
    inputmode integrity is ismap itemid itemprop itemref itemscope itemtype kind label lang list
    loading loop low max maxlength media method min minlength multiple muted name novalidate open
    optimum part pattern ping placeholder playsinline popover popovertarget popovertargetaction
    poster preload readonly referrerpolicy rel required reversed role rows rowspan sandbox scope
    selected shape size sizes slot span spellcheck src srclang srcset start step summary tabindex
    target title type usemap value wrap
"""
_ATTRIBUTES: Final = frozenset(_ATTRIBUTE_WORDS.split())

# No vendor's own, and none that only SVG or the pages of a print know.
_STYLE_WORDS: Final = """
    accent-color align-content align-items align-self all animation animation-composition
    animation-delay animation-direction animation-duration animation-fill-mode
    animation-iteration-count animation-name animation-play-state animation-timing-function
    appearance aspect-ratio backdrop-filter backface-visibility background background-attachment
    background-blend-mode background-clip background-color background-image background-origin
    background-position background-position-x background-position-y background-repeat
    background-size block-size border border-block border-block-color border-block-end
    border-block-end-color border-block-end-style border-block-end-width border-block-start
    border-block-start-color border-block-start-style border-block-start-width border-block-style
    border-block-width border-bottom border-bottom-color border-bottom-left-radius
    border-bottom-right-radius border-bottom-style border-bottom-width border-collapse border-color
    border-end-end-radius border-end-start-radius border-image border-image-outset
    border-image-repeat border-image-slice border-image-source border-image-width border-inline
    border-inline-color border-inline-end border-inline-end-color border-inline-end-style
    border-inline-end-width border-inline-start border-inline-start-color border-inline-start-style
    border-inline-start-width border-inline-style border-inline-width border-left border-left-color
    border-left-style border-left-width border-radius border-right border-right-color
    border-right-style border-right-width border-spacing border-start-end-radius
    border-start-start-radius border-style border-top border-top-color border-top-left-radius
    border-top-right-radius border-top-style border-top-width border-width bottom
    box-decoration-break box-shadow box-sizing break-after break-before break-inside caption-side
    caret-color clear clip clip-path color color-scheme column-count column-fill column-gap
    column-rule column-rule-color column-rule-style column-rule-width column-span column-width
    columns contain contain-intrinsic-block-size contain-intrinsic-height
    contain-intrinsic-inline-size contain-intrinsic-size contain-intrinsic-width container
    container-name container-type content content-visibility counter-increment counter-reset
    counter-set cursor direction display empty-cells field-sizing fill filter flex flex-basis
    flex-direction flex-flow flex-grow flex-shrink flex-wrap float font font-family
    font-feature-settings font-kerning font-optical-sizing font-palette font-size font-size-adjust
    font-stretch font-style font-synthesis font-variant font-variant-alternates font-variant-caps
    font-variant-east-asian font-variant-emoji font-variant-ligatures font-variant-numeric
    font-variant-position font-variation-settings font-weight forced-color-adjust gap grid grid-area
    grid-auto-columns grid-auto-flow grid-auto-rows grid-column grid-column-end grid-column-gap
    grid-column-start grid-gap grid-row grid-row-end grid-row-gap grid-row-start grid-template
    grid-template-areas grid-template-columns grid-template-rows height hyphenate-character hyphens
    image-orientation image-rendering inline-size inset inset-block inset-block-end
    inset-block-start inset-inline inset-inline-end inset-inline-start isolation justify-content
    justify-items justify-self left letter-spacing line-break line-height list-style
    list-style-image list-style-position list-style-type margin margin-block margin-block-end
    margin-block-start margin-bottom margin-inline margin-inline-end margin-inline-start margin-left
    margin-right margin-top mask mask-clip mask-composite mask-image mask-mode mask-origin
    mask-position mask-repeat mask-size mask-type max-block-size max-height max-inline-size
    max-width min-block-size min-height min-inline-size min-width mix-blend-mode object-fit
    object-position offset offset-anchor offset-distance offset-path offset-position offset-rotate
    opacity order orphans outline outline-color outline-offset outline-style outline-width overflow
    overflow-anchor overflow-block overflow-clip-margin overflow-inline overflow-wrap overflow-x
    overflow-y overscroll-behavior overscroll-behavior-block overscroll-behavior-inline
    overscroll-behavior-x overscroll-behavior-y padding padding-block padding-block-end
    padding-block-start padding-bottom padding-inline padding-inline-end padding-inline-start
    padding-left padding-right padding-top perspective perspective-origin place-content place-items
    place-self pointer-events position print-color-adjust quotes resize right rotate row-gap
    ruby-align ruby-position scale scroll-behavior scroll-margin scroll-margin-block
    scroll-margin-block-end scroll-margin-block-start scroll-margin-bottom scroll-margin-inline
    scroll-margin-inline-end scroll-margin-inline-start scroll-margin-left scroll-margin-right
    scroll-margin-top scroll-padding scroll-padding-block scroll-padding-block-end
    scroll-padding-block-start scroll-padding-bottom scroll-padding-inline scroll-padding-inline-end
    scroll-padding-inline-start scroll-padding-left scroll-padding-right scroll-padding-top
    scroll-snap-align scroll-snap-stop scroll-snap-type scrollbar-color scrollbar-gutter
    scrollbar-width shape-image-threshold shape-margin shape-outside stroke stroke-width tab-size
    table-layout text-align text-align-last text-combine-upright text-decoration
    text-decoration-color text-decoration-line text-decoration-skip-ink text-decoration-style
    text-decoration-thickness text-emphasis text-emphasis-color text-emphasis-position
    text-emphasis-style text-indent text-justify text-orientation text-overflow text-rendering
    text-shadow text-size-adjust text-transform text-underline-offset text-underline-position
    text-wrap text-wrap-mode text-wrap-style top touch-action transform transform-box
    transform-origin transform-style transition transition-behavior transition-delay
    transition-duration transition-property transition-timing-function translate unicode-bidi
    user-select vertical-align view-transition-name visibility white-space white-space-collapse
    widows width will-change word-break word-spacing word-wrap writing-mode z-index zoom
"""
_STYLES: Final = frozenset(_STYLE_WORDS.split())

# Python, as JavaScript, has uses of its own for the words of HTML. `el` knows class_name itself.
_NAMES_IN_SCRIPTS: Final = {"class-name": "class_name", "html-for": "for"}

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@final
@frozen(eq=False)  # the values may be expressions, which refuse to be compared
class Props:
    """Keywords, sorted by what their names say."""

    attributes: Mapping[str, object]
    """By the keyword that `el` has for them, such as ``tabindex`` and ``on_click``."""
    styles: Mapping[str, object]
    """By the property's name as CSS has it, such as ``max-width``."""
    others: Mapping[str, object]
    """What is neither, by the keyword."""


def sort_props(given: Mapping[str, object]) -> Props:
    """Sort keywords into attributes, styles, and what is neither.

    Args:
        given: values by keyword. Words are set apart as Python has it (``max_width``), as CSS
            (``max-width``), as JavaScript (``maxWidth``), or not at all (``tabindex``).
    """
    attributes: dict[str, object] = {}
    styles: dict[str, object] = {}
    others: dict[str, object] = {}
    for keyword, value in given.items():
        if (style := style_name(keyword)) is not None:
            styles[style] = value
        elif (attribute := attribute_name(keyword)) is not None:
            attributes[attribute] = value
        else:
            others[keyword] = value
    return Props(attributes, styles, others)


def style_name(keyword: str) -> str | None:
    """Give the name of the CSS property that a keyword means, None if it means none.

    >>> style_name("max_width"), style_name("zIndex"), style_name("--accent"), style_name("href")
    ('max-width', 'z-index', '--accent', None)
    """
    if keyword.startswith("--"):  # a property of the program's own
        return keyword
    name = _with_hyphens(keyword)
    return name if name in _STYLES else None


def attribute_name(keyword: str) -> str | None:
    """Give the keyword of `el` for the attribute that a keyword means, None if it means none.

    >>> attribute_name("tab_index"), attribute_name("htmlFor"), attribute_name("aria_label")
    ('tabindex', 'for', 'aria-label')
    """
    name = _with_hyphens(keyword)
    if name.startswith(("aria-", "data-")):
        return name
    if name.startswith("on-"):
        return keyword
    if name in _NAMES_IN_SCRIPTS:
        return _NAMES_IN_SCRIPTS[name]
    return next((one for one in (name, name.replace("-", "")) if one in _ATTRIBUTES), None)


def _with_hyphens(keyword: str) -> str:
    return _HUMP.sub("-", keyword).lower().removesuffix("_").replace("_", "-")
