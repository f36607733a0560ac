"""Something made once per node and used by all of its processes, as the tokenised pairs are."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from inranker.errors import UserError
from inranker.fetch import make_whole


def default_cache() -> Path:
    """Where a node keeps what it made, unless told otherwise: per user, under the system's temporary directory."""
    return Path(tempfile.gettempdir()) / f"inranker-training-{os.getuid()}"


def make_once(place: Path, make: Callable[[Path], None], maker: bool, world: int = 1) -> Path:
    """The directory `place`, made by one process of each node while the others wait.

    It appears by renaming a finished directory, so a maker that dies leaves nothing that looks done, and two makers
    (two jobs on one node) do no harm.

    Args:
        place: the directory; its name must say everything its content depends on.
        make: fills the directory it is given.
        maker: whether this process makes it where it is missing.
        world: processes of the job, all of which call this.

    Raises:
        UserError: on every process, what `make` raised on one of them: one that stopped alone would leave the others
            waiting for it.
    """
    said: str | None = None
    if maker and not place.exists():
        try:
            make_whole(place, make)
        except UserError as error:
            said = str(error)
    if world > 1:
        answers: list[str | None] = [None] * world
        torch.distributed.all_gather_object(answers, said)
        said = next((answer for answer in answers if answer is not None), None)
    if said is not None:
        raise UserError(said)
    return place
