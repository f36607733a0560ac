"""A page as a browser's parser sees it: its tags, its text, and what it would load."""

from html.parser import HTMLParser

ATTACK = '<script>document.title = "owned"</script><img src=x onerror="document.title=1">&lt;b&gt;\u202e'
LOADING = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        tags: names of the elements, in order.
        loads: (element, attribute, value) of everything that leads elsewhere, or runs.
        text: all text, styles left out.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text_of_source, self.text = source, ""
        self.tags: list[str] = []
        self.loads: list[tuple[str, str, str | None]] = []
        self.inside: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.inside.append(tag)
        self.loads += [(tag, name, value) for name, value in attrs if name in LOADING or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        if tag in self.inside:
            del self.inside[len(self.inside) - 1 - self.inside[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        if not self.inside or self.inside[-1] != "style":
            self.text += data
