"""Our own networks on the Hugging Face Hub: `push` a run or a checkpoint, `pull` it elsewhere.

Only what is listed below goes up or comes down: weights in safetensors, artifacts, the card and the
records. No file that may hold a pickle, and no record of where the images lie.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from mobilenets.errors import FileError
from mobilenets.files import (
    cache_folder,
    make_folder,
    read_bytes,
    read_json,
    scratch,
    sha256_of,
    write_json,
    write_text,
)
from mobilenets.nn.checkpoint import Checkpoint
from mobilenets.runs.layout import ARCH, CARD, REPORT, TRAINED, VERDICT

_NAMES = (CARD, REPORT, ARCH, VERDICT)
_SUFFIXES = (".safetensors", ".onnx", ".tflite", ".pte")
# Which weights of a bundle are its network, the last made first.
_CHECKPOINTS = ("model.safetensors", "adapted.safetensors", TRAINED)
_RECORD = ".pulled.json"
log = logging.getLogger(__name__)


def push(source: Path | str | Checkpoint, repo: str, *, private: bool = True) -> str:
    """Put a run folder, a checkpoint's file or a checkpoint into the Hub repository `repo`
    (owner/name), made where there is none; its address.

    A run's page shows images of yours: repositories are private unless you say otherwise. Raises
    `FileError` for what is neither, and where the Hub refuses or cannot be reached.
    """
    with scratch() as temporary:
        files = _bundle(source, temporary)
        with _said(f"the network could not be pushed to {repo}"):
            return _upload(files, repo, private)


def pull(repo: str, out: Path | str | None = None) -> Path:
    """The folder into which the network in the Hub repository `repo` was downloaded: `out`, or one
    in the cache. Every file's hash is verified. Raises `FileError`."""
    folder = Path(out) if out is not None else _folder(repo)
    with _said(f"{repo} could not be pulled into {folder}"):
        return _download(repo, folder)


def pull_checkpoint(repo: str) -> Path:
    """The checkpoint's file of the Hub repository `repo`, in the cache: the newest, or the one that
    is there where the Hub cannot be reached."""
    folder = _folder(repo)
    try:
        pull(repo)
    except FileError as error:
        if not (folder / _RECORD).exists():
            raise
        log.warning(f"{error}; what was pulled before is used")
        _verify(folder)
    found = [folder / name for name in _CHECKPOINTS if (folder / name).exists()]
    if not found:
        raise FileError(f"{repo} holds no checkpoint of ours: none of {', '.join(_CHECKPOINTS)}")
    return found[0]


def _bundle(source: Path | str | Checkpoint, temporary: Path) -> list[Path]:
    if isinstance(source, Checkpoint):
        source.save(temporary / _CHECKPOINTS[0])
        return [temporary / _CHECKPOINTS[0], _card(source, temporary)]
    source = Path(source)
    if source.is_file():
        return _bundle(Checkpoint.load(source), temporary)
    files = [path for path in sorted(source.glob("*")) if _is_shared(path.name)]
    if not any(path.name in _CHECKPOINTS for path in files):
        raise FileError(
            f"{source} is neither a checkpoint (.safetensors) nor a run folder with one of "
            f"{', '.join(_CHECKPOINTS)}; give one of them"
        )
    return files


def _card(checkpoint: Checkpoint, folder: Path) -> Path:
    """A card for a checkpoint that has none."""
    path = folder / CARD
    arch = checkpoint.arch
    write_text(
        path,
        "---\nlibrary_name: mobilenets\npipeline_tag: image-classification\n"
        "tags: [mobilenet, image-classification]\n---\n\n"
        f"# {arch.full_name}\n\nA MobileNet for {checkpoint.task} ({arch.classes:,} outputs), "
        f"{arch.size.height} x {arch.size.width} pixels. The architecture, labels and "
        "preprocessing are in the file.\n",
    )
    return path


def _is_shared(name: str) -> bool:
    plain = Path(name).name == name and not name.startswith(".")
    return plain and (name in _NAMES or name.endswith(_SUFFIXES))


def _upload(files: list[Path], repo: str, private: bool) -> str:
    hub = _hub()
    api = hub.HfApi(endpoint=_endpoint())
    address = api.create_repo(repo, private=private, exist_ok=True)
    added = [hub.CommitOperationAdd(path.name, str(path)) for path in files]
    api.create_commit(repo, added, commit_message=f"{', '.join(path.name for path in files)}")
    return str(address)


def _download(repo: str, folder: Path) -> Path:
    hub = _hub()
    info = hub.HfApi(endpoint=_endpoint()).model_info(repo, files_metadata=True)
    shared = [one for one in info.siblings or () if _is_shared(one.rfilename)]
    if not shared:
        raise FileError(f"{repo} holds nothing of ours; is it the repository you meant?")
    with scratch(make_folder(folder)) as temporary:
        for one in shared:
            log.info(f"downloading {one.rfilename}")
            path = hub.hf_hub_download(
                repo, one.rfilename, revision=info.sha, local_dir=temporary, endpoint=_endpoint()
            )
            _check(read_bytes(Path(path)), one, repo)
        for one in shared:
            (temporary / one.rfilename).replace(folder / one.rfilename)
    hashes = {one.rfilename: sha256_of(folder / one.rfilename) for one in shared}
    write_json(folder / _RECORD, {"repo": repo, "revision": info.sha, "sha256": hashes})
    return folder


def _check(data: bytes, file: Any, repo: str) -> None:
    """Raise `FileError` unless `data` has the hash that the Hub lists: SHA-256 of a large file,
    git's of a small one."""
    if file.lfs is not None:
        got, expected = hashlib.sha256(data).hexdigest(), file.lfs.sha256
    else:
        blob = b"blob %d\0" % len(data) + data
        got, expected = hashlib.sha1(blob, usedforsecurity=False).hexdigest(), file.blob_id
    if got != expected:
        raise FileError(
            f"{file.rfilename} of {repo} is broken: its hash is {got}, not {expected}; pull again"
        )


class _Pulled(TypedDict):
    sha256: dict[str, str]


def _verify(folder: Path) -> None:
    for name, expected in read_json(folder / _RECORD, _Pulled)["sha256"].items():
        if sha256_of(folder / name) != expected:
            raise FileError(f"{folder / name} has changed since it was pulled; pull it again")


def _folder(repo: str) -> Path:
    return cache_folder() / "hub" / repo.replace("/", "--")


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise FileError(
            "the Hub needs huggingface_hub, which is not installed: pip install "
            "'mobilenets[weights]'"
        ) from error
    return huggingface_hub


@contextmanager
def _said(what: str) -> Iterator[None]:
    """Whatever goes wrong inside, as one sentence. The Hub's library raises from several families,
    its HTTP client's among them, which change with its versions."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split())[:200]
        raise FileError(
            f"{what} at {_endpoint()} ({type(cause).__name__}: {reason}); check the name, your "
            "token (`hf auth login`) and the network"
        ) from error
