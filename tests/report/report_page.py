"""A page as its tests read it."""

from html.parser import HTMLParser
from pathlib import Path

_VOID = {"img", "meta"}


class Page(HTMLParser):
    """All elements of a page, and the cells of its tables by the name of their caption.

    Attributes:
      elements: (name, attributes) in the order in which they are opened.
      tables: for each table, by the id of its caption, its rows of texts.
      text: all of the text, but of the style sheet.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.elements, self.tables, self.text = [], {}, ""
        self._open = []
        self.feed(path.read_text("utf-8"))
        assert not self._open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in _VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows = self.tables[attributes["aria-labelledby"]] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("th", "td"):
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" in self._open:
            return
        self.text += data
        if {"th", "td"} & {*self._open}:
            self._rows[-1][-1] += data

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]

    def records(self, name):
        """The rows of a table as dicts."""
        head, *rows = self.tables[f"table-{name}"]
        return [dict(zip(head, row, strict=True)) for row in rows]
