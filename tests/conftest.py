"""What one test leaves must not reach the next."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mobilenets.data import remembered
from mobilenets.measuring import loop
from tests.living_converters import living_converters

os.environ["MOBILENETS_OFFLINE"] = "1"  # `--weights auto` looks for no weights on the network
THREADS = torch.get_num_threads()
# What takes longest begins first, so that two processes end at about the same time.
LONGEST = ("runtimes", "pipeline", "quantize", "netadapt", "nn", "choose", "weights_parity", "ddp",
           "adapt", "train_named", "edits", "trials", "attributes", "surgery")  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="the long tests too: make test-full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("full"):
        long = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    order = {f"test_{name}": at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(autouse=True, scope="session")
def converters_live_on() -> Iterator[None]:
    """Starting a process and its imports takes longer than most networks do."""
    with living_converters():
        yield


@pytest.fixture(autouse=True, scope="session")
def measured_briefly() -> Iterator[None]:
    """Not for as long as it takes to know a median: that decides in no test but those of measuring,
    which want it as it is (`test_measure`)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SPAN_S", 0.1)
        patch.setattr(loop, "KNOWN", 1.0)
        yield


@pytest.fixture(autouse=True)
def torch_threads_stay() -> Iterator[None]:
    """A torch session sets the threads of its whole process, and sums depend on their number."""
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def the_same_random_numbers() -> None:
    """Another library's network is made of torch's own: which they are must not depend on the tests
    before."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def remembered_images(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """What was read of images is not looked for in the user's cache, nor put there."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(remembered, "cache_folder", lambda: folder)
    return folder
