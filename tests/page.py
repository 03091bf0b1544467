"""A report as its tests read it."""

import json
import re
from html.parser import HTMLParser
from typing import Any

DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.S)


class Page(HTMLParser):
    """What a page links to, what it says, and what its charts are made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.said = ""
        self.unread = False  # within a script or a style sheet
        self.feed(text)
        found = DATA.search(text)
        self.data: dict[str, Any] = json.loads(found[1]) if found else {}

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.unread = tag in ("script", "style")
        self.links += [value for key, value in attributes if key in ("src", "href")]
        self.ids += [value for key, value in attributes if key == "id"]

    def handle_endtag(self, tag):
        self.unread = False

    def handle_data(self, data):
        self.said += "" if self.unread else data
