"""The top of a report as a picture, taken by the headless Chromium that the tests look at reports with.

python -m tests.screenshot out/quickstart/labels/report.html docs/images/report.png
"""

import argparse
import base64
import sys
from pathlib import Path

from tests.browser import Browser, find_browser

WIDTH, HEIGHT = 1000, 900


def take(page: Path, picture: Path, width: int = WIDTH, height: int = HEIGHT) -> int:
    """Write the first `height` CSS pixels of a page as PNG; returns its bytes.

    Raises:
        FileNotFoundError: no Chromium is on PATH.
    """
    if (path := find_browser()) is None:
        raise FileNotFoundError("no Chromium is on PATH; install one")
    with Browser(path) as browser:
        shot = browser.open(page, width, height).call("Page.captureScreenshot", {"format": "png"})
    picture.parent.mkdir(parents=True, exist_ok=True)
    return picture.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--height", type=int, default=HEIGHT)
    chosen = parser.parse_args()
    print(take(chosen.page, chosen.picture, chosen.width, chosen.height), "bytes", file=sys.stderr)
