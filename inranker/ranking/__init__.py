"""Using a reranker: rank passages, re-rank runs, calibrate scores.

Importing this package imports neither torch nor Ray; loading a model does.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ranker import RankedPassage, Ranker

__all__ = ["RankedPassage", "Ranker"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import ranker

        return getattr(ranker, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
