"""The page at `/`: type a query, paste passages or search the collection, compare systems. Files beside this one."""

from importlib import resources

from fastapi import FastAPI, Response

from inranker.serving.problems import problem

ASSETS = "/assets/"
TYPES = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def add_page(api: FastAPI) -> None:
    """Serve the page and its files."""
    folder = resources.files("inranker.serving") / "page"
    files = {name: (folder / name).read_bytes() for name in TYPES}

    async def index() -> Response:
        return Response(files["index.html"], media_type=TYPES["index.html"])

    async def asset(name: str) -> Response:
        if name not in files:
            return problem(404, f"there is no file {name}")
        return Response(files[name], media_type=TYPES[name])

    api.add_api_route("/", index, include_in_schema=False)
    api.add_api_route(ASSETS + "{name}", asset, include_in_schema=False)
