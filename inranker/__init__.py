"""InRanker: distil a big reranker into a small one that keeps its quality where it was never trained.

Importing the package imports neither Ray nor torch; each part brings them in when it needs them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inranker.ranking.legacy import T5Ranker as T5Ranker
    from inranker.ranking.ranker import Ranker as Ranker

__version__ = "0.1.0"

# Names that are found where they live when they are first asked for.
LAZY = {"Ranker": "inranker.ranking.ranker", "T5Ranker": "inranker.ranking.legacy"}


def __getattr__(name: str) -> Any:
    if name in LAZY:
        from importlib import import_module

        return getattr(import_module(LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
