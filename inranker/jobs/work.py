"""How the work on one unit travels: one-row Arrow tables between steps, and step objects built once a process.

The graph maps steps over units; nothing here knows of Ray.
"""

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from inranker.errors import UserError
from inranker.manifest import read_identity
from inranker.storage import Store
from inranker.units import unit_from_json


def once_per_process(
    work: pa.Table, work_class: type, begin: Callable[[str], object], *arguments: Hashable
) -> pa.Table:
    """Apply a step as a task: its object (tokenizer, store) is built once in each worker process.

    `begin` is told the unit's name first; it raises to stop a unit that has been started too often.
    """
    begin(unit_from_json(work["unit"][0].as_py()).name)
    built: Callable[[pa.Table], pa.Table] = _built(work_class, arguments)
    return built(work)


@lru_cache(maxsize=8)
def _built(work_class: type, arguments: tuple[Hashable, ...]) -> Any:
    return work_class(*arguments)


def require_shared_output(output: str, fingerprint: str) -> None:
    """A worker that cannot see the job's identity would write where nobody reads.

    Raises:
        UserError: the store is not shared with this process, or belongs to another job.
    """
    try:
        claim = read_identity(Store(output))
    except UserError as error:
        raise UserError(
            f"workers do not see the output {output}; use a place that every node shares (s3://…, a shared mount)"
        ) from error
    if claim["fingerprint"] != fingerprint:
        raise UserError(f"the output {output} belongs to another job; name another")


def one_row(**values: Any) -> pa.Table:
    """A one-row table; bytes as large_binary, since a unit's token ids may pass 2 GiB."""
    return pa.table(
        {
            name: pa.array([value], pa.large_binary() if isinstance(value, bytes) else None)
            for name, value in values.items()
        }
    )


def buffer(work: pa.Table, column: str, dtype: Any) -> np.ndarray:
    """A column's bytes as an array that torch may write."""
    # frombuffer is a read-only view of Arrow's memory.
    return np.frombuffer(work[column][0].as_buffer(), dtype=dtype).copy()
