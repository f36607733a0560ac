"""Serving: rerankers behind HTTP, in one process or on Ray Serve.

    request → guard (size, time, token) → schemas → service → engine: tokenise → batcher → model

Importing this package imports neither torch, nor Ray, nor a web framework.
"""
