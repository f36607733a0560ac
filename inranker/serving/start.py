"""Serve with the engine that a config names."""

from typing import Any

from inranker.errors import UserError
from inranker.serving.config import ServeConfig


def start(config: ServeConfig) -> dict[str, Any]:
    """Serve until told to end; the summary says how it went.

    Raises:
        UserError: a package of the extra `serve` is missing, the address is taken, or a model cannot be loaded.
    """
    try:
        if config.engine == "local":
            from inranker.serving.local import serve_local as run
        else:
            from inranker.serving.cluster import serve_on_ray as run
    except ImportError as error:
        raise UserError(f"{error.name or 'ray.serve'} is missing; pip install 'inranker[serve]'") from error
    return run(config)
