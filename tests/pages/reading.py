"""Reads a page as a strict browser would: which elements it holds, and whether they are nested as they should be."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@dataclass
class Element:
    """A start tag, and the text right inside it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, tag="", **attributes):
        """This element and all below it with that tag and those attributes; class_ matches one of several."""
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        found = [
            self
            for _ in range(1)
            if (not tag or self.tag == tag)
            and all(
                v in self.attributes.get(k, "").split() if k == "class" else self.attributes.get(k) == v
                for k, v in wanted.items()
            )
        ]
        return found + [one for child in self.children for one in child.all(tag, **attributes)]

    @property
    def words(self):
        """All text in and below."""
        return " ".join([self.text, *(child.words for child in self.children)])


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        assert len(element.attributes) == len(attrs), f"an attribute of <{tag}> stands there twice"
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].text += data


def read(page):
    """A page, bytes or text, as its root element. AssertionError where tags do not match."""
    reader = _Reader()
    reader.feed(page.decode() if isinstance(page, bytes) else page)
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].tag}> is never closed"
    return reader.root
