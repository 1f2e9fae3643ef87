"""What one test leaves must not reach the next."""

import os
from collections.abc import Iterator

import pytest
import torch

os.environ["MOBILENETS_OFFLINE"] = "1"  # `--weights auto` looks for no weights on the network
THREADS = torch.get_num_threads()


@pytest.fixture(autouse=True)
def torch_threads_stay() -> Iterator[None]:
    """A torch session sets the threads of its whole process, and sums depend on their number."""
    yield
    torch.set_num_threads(THREADS)
