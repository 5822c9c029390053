"""HTML that escapes what it is given: only what was made here is markup, all other text is shown as it stands."""

import html
from collections.abc import Iterable
from typing import Any


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *content: Any, **attributes: Any) -> Markup:
    """An element of HTML.

    Args:
      name: of the element.
      *content: what it holds; all but `Markup` is escaped, and None left out.
      **attributes: of the element; underscores become hyphens, one at the end is dropped (`class_`), and an attribute
        of value None is left out.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opening = " ".join([name, *(f'{key}="{html.escape(str(value))}"' for key, value in given.items())])
    return Markup(f"<{opening}>{joined(content)}</{name}>")


def image(source: str, alt: str) -> Markup:
    """A picture from an address or a data URI."""
    return Markup(f'<img src="{html.escape(source)}" alt="{html.escape(alt)}">')


def joined(content: Iterable[Any]) -> Markup:
    """Pieces of HTML one after the other, escaped as in `element`."""
    return Markup(
        "".join(item if isinstance(item, Markup) else html.escape(str(item)) for item in content if item is not None)
    )


def paragraph(*content: Any) -> Markup:
    """A paragraph."""
    return element("p", *content)


def code(text: str) -> Markup:
    """Text in a fixed width, as one types it."""
    return element("code", text)


def listing(text: str) -> Markup:
    """Lines in a fixed width, which scroll if they are too long."""
    return element("pre", code(text), tabindex=0)


def bullets(items: Iterable[Any]) -> Markup:
    """A list."""
    return element("ul", *(element("li", item) for item in items))


def section(identifier: str, heading: str, *content: Any) -> Markup:
    """A section of the page with its heading."""
    title = element("h2", heading, id=f"{identifier}-heading")
    return element("section", title, *content, id=identifier, aria_labelledby=f"{identifier}-heading")


def table(
    identifier: str,
    caption: str,
    head: Iterable[Any],
    rows: Iterable[tuple[Any, ...]],
    *,
    row_headers: int = 1,
    flagged: Iterable[int] = (),
    class_: str | None = None,
) -> Markup:
    """A table in a container that scrolls where it is wider than the page, under its caption, which does not.

    Args:
      identifier: of the table on the page, unique.
      caption: what it shows.
      head: the names of the columns.
      rows: the cells of each row.
      row_headers: how many of the first cells of a row say what the row is.
      flagged: the numbers of the rows to be marked.
      class_: of the container.
    """
    marked = {*flagged}
    header = element("tr", *(element("th", name, scope="col") for name in head))
    lines = []
    for i, row in enumerate(rows):
        cells = [
            element("th", cell, scope="row") if j < row_headers else element("td", cell) for j, cell in enumerate(row)
        ]
        lines.append(element("tr", *cells, class_="flagged" if i in marked else None))
    name = f"table-{identifier}"
    whole = element("table", element("thead", header), element("tbody", *lines), aria_labelledby=name)
    classes = "scroll" if class_ is None else f"scroll {class_}"
    container = element("div", whole, class_=classes, role="region", aria_labelledby=name, tabindex=0)
    return joined([element("p", caption, class_="caption", id=name), container])
