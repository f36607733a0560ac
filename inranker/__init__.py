"""InRanker: distil a big reranker into a small one that keeps its quality where it was never trained.

Importing the package imports neither Ray nor torch; each part brings them in when it needs them.
"""

__version__ = "0.1.0"
