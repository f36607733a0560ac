"""What unit tests that train in their own process share."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@pytest.fixture(scope="session")
def alone() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Makes this process the only worker of a job, within the context that it gives.

    The process group is one for all tests: DeepSpeed keeps the first that it meets, even when that is gone.
    """
    import torch

    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)

    @contextmanager
    def environment() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
                patch.setenv(name, value)
            yield

    yield environment
    torch.distributed.destroy_process_group()
