"""The page in a real browser: used by keyboard, at a phone's and a desktop's width, with hostile passages."""

import json
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from inranker.serving.config import ServeConfig
from inranker.serving.service import Service
from inranker.types import Passage
from tests.browser import NAMES, Browser, Tab, find_browser
from tests.serving import LocalServer
from tests.unit.serving.test_api import shared

ATTACK = '<img src=x onerror="document.title=\'taken\'"><script>document.title="taken"</script>'
ATTACK_SHOWN = f"[...document.querySelectorAll('.text')].some(e => e.textContent === {json.dumps(ATTACK)})"
WIDER = """[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5)
  .map(e => e.tagName + '.' + e.className)"""
FOCUS = "document.activeElement.id || document.activeElement.tagName"
STATUS = "document.getElementById('status').textContent"
RANKED = "document.querySelectorAll('.system').length"
UNNAMED = """[...document.querySelectorAll('input, textarea, button')].filter(e => !e.closest('[hidden]')
  && !e.labels?.length && !e.textContent.trim() && !e.ariaLabel).map(e => e.outerHTML)"""
# Contrast of each text with what is behind it (WCAG 2.2), where it is below 4.5.
FAINT = """(() => {
  const numbers = c => c.match(/[\\d.]+/g).map(Number);
  const light = c => { const [r, g, b] = numbers(c).map(v => v / 255).map(v =>
    v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (numbers(c)[3] !== 0) return c; } return 'rgb(255, 255, 255)'; };
  return [...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && [...e.childNodes].some(n =>
    n.nodeType === 3 && n.textContent.trim())).map(e => { const a = light(getComputedStyle(e).color),
    b = light(behind(e)); return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 90)]; })
    .filter(([ratio]) => ratio < 4.5);
})()"""


class Shelf:
    """A collection of three passages, of which one is hostile."""

    name = "shelf"
    passages = (Passage("a", "open a file and read the stream", "File"), Passage("b", ATTACK), Passage("c", "close"))

    def __len__(self) -> int:
        return len(self.passages)

    def search(self, query: str, depth: int) -> list[tuple[Passage, float]]:
        return [(passage, 3.0 - place) for place, passage in enumerate(self.passages[:depth])]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = find_browser()
    if path is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(NAMES)}); Debian: apt-get install chromium")
    with Browser(path) as running:
        yield running


@pytest.fixture(scope="module")
def shelved(server: LocalServer) -> Iterator[LocalServer]:
    """The same models with a collection."""
    config: ServeConfig = replace(server.config)
    service: Service = shared(server, config)
    service.corpus = Shelf()  # type: ignore[assignment]
    with LocalServer(config, service) as running:
        yield running


def open_page(browser: Browser, url: str, width: int, height: int, dark: bool = False) -> Tab:
    """A tab whose query field has the focus: browsers give it with the first picture, which may come after loading."""
    tab = browser.open(url, width, height, dark)
    tab.until(f"{FOCUS} === 'query'")
    return tab


def ask(tab: Tab, query: str, passages: str) -> None:
    """Fill the form by keyboard and send it by Enter."""
    assert tab.value(FOCUS) == "query"
    tab.type(query)
    tab.press("Tab")
    assert tab.value(FOCUS) == "passages"
    tab.type(passages)
    tab.press("Tab")
    tab.press("Enter")
    tab.until(RANKED)


@pytest.mark.parametrize(("width", "height", "dark"), [(390, 844, False), (1280, 900, True)])
def test_the_page_ranks_what_is_pasted(
    browser: Browser, server: LocalServer, width: int, height: int, dark: bool
) -> None:
    tab = open_page(browser, f"{server.url}/", width, height, dark)
    tab.until("document.getElementById('served').textContent.includes('BM25 beside')")
    long = "read the stream of the queue " * 30 + "x" * 500
    ask(tab, "open a file", f"read the stream\nwrite a file\n{ATTACK}\n{long}")
    names = ["BM25", *server.service.engines]
    assert tab.value("[...document.querySelectorAll('.system h2')].map(e => e.textContent)") == names
    assert tab.value("[...document.querySelectorAll('.system')].map(e => e.querySelectorAll('li').length)") == [4] * 3
    assert "4 passages" in tab.value(STATUS) and " ms" in tab.value(STATUS)
    assert tab.value("document.querySelector('[role=status]').ariaLive") == "polite"
    first = tab.value("document.querySelector('.bm25 li .text').textContent")
    assert first == "write a file"
    # What the page shows is what the interface answers.
    body = {"query": "open a file", "texts": ["read the stream", "write a file", ATTACK, long.strip()]}
    best = httpx.post(f"{server.url}/rerank", json=body).json()[0]
    shown = tab.value("document.querySelector('.student li .figures').textContent")
    assert shown.startswith(f"P {best['score']:.3f} ")
    assert tab.value(ATTACK_SHOWN) is True and tab.value("document.title") == "InRanker"
    assert tab.value("document.querySelectorAll('main img, main script').length") == 0
    assert tab.value("document.documentElement.scrollWidth") <= width and tab.value(WIDER) == []
    assert tab.value(UNNAMED) == [] and tab.value(FAINT) == []
    assert tab.problems() == []
    assert all(url.startswith(server.url) for url in tab.requests())


def test_the_page_searches_the_collection(browser: Browser, shelved: LocalServer) -> None:
    tab = open_page(browser, f"{shelved.url}/", 390, 844)
    tab.until("!document.getElementById('sources').hidden")
    tab.type("open")
    tab.press("Tab")
    tab.press("ArrowDown")
    assert tab.value("document.getElementById('pasted').hidden") is True
    tab.press("Tab")
    tab.press("Enter")
    tab.until(RANKED)
    assert "3 passages" in tab.value(STATUS)
    assert tab.value("document.querySelector('.bm25 h3').textContent") == "File"
    assert tab.value("document.title") == "InRanker" and tab.problems() == []


def test_the_page_says_what_is_wrong(browser: Browser, server: LocalServer) -> None:
    tab = open_page(browser, f"{server.url}/", 390, 844)
    tab.type("open")
    tab.press("Enter")
    assert tab.until(STATUS) == "Paste at least one passage."
    many = "\\n".join(["a"] * 300)
    tab.value(f"document.getElementById('passages').value = '{many}'")
    tab.press("Enter")
    tab.until(f"{STATUS}.includes('300 documents')")
    assert tab.value("document.getElementById('status').className") == "bad"


def test_blank_lines_separate_passages_of_several_lines(browser: Browser, server: LocalServer) -> None:
    tab = open_page(browser, f"{server.url}/", 1280, 900)
    parts = tab.value("document.getElementById('passages').value = 'a\\nb\\n \\n\\nc\\n', pastedPassages()")
    assert parts == ["a\nb", "c"]
    assert tab.value("document.getElementById('passages').value = 'a\\n  b \\nc', pastedPassages()") == ["a", "b", "c"]


def test_the_page_asks_for_the_token(browser: Browser, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PAGE_TOKEN", "sesame")
    config = replace(server.config, token_variable="TEST_PAGE_TOKEN")
    with LocalServer(config, shared(server, config)) as guarded:
        tab = browser.open(f"{guarded.url}/", 390, 844)
        tab.until("!document.getElementById('key').hidden && document.activeElement.id === 'token'")
        tab.type("sesame")
        tab.value("document.getElementById('example').click()")
        tab.press("Enter")
        tab.until(RANKED)
        assert tab.value("document.querySelector('.bm25 li .text').textContent").startswith("Reef knots")
