"""Folders of arrays and plain data: safetensors, JSON, and a hash of each. Never a pickle."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from aigc.data.files import sha256_of, unwritable, write_json, writing
from aigc.errors import ArtifactCorrupt

TENSORS = "tensors.safetensors"
PLAIN = "plain.json"
HASHES = "hashes.json"

ADVICE = "Use the version before it, or train again"


def write_tensors(folder: Path, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> str:
    """Write `folder` anew; the hashes come last and make it valid. Returns its digest.

    Raises WorkspaceUnwritable.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with writing(folder / TENSORS) as partial:
        try:
            save_file(contiguous, partial)
        except SafetensorError as error:
            # What safetensors makes of a full disk.
            raise OSError(str(error)) from error
    write_json(folder / PLAIN, dict(plain))
    write_json(folder / HASHES, {name: sha256_of(folder / name) for name in (TENSORS, PLAIN)})
    return sha256_of(folder / HASHES)


def read_tensors(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], str]:
    """The tensors, the plain data and the digest of `folder`, after checking every hash.

    Raises ArtifactCorrupt.
    """
    digest = require_whole(folder)
    with _readable(folder):
        plain = json.loads((folder / PLAIN).read_bytes())
        return load_file(folder / TENSORS), plain, digest


def require_whole(folder: Path) -> str:
    """Raise ArtifactCorrupt unless every file of `folder` has its hash. Returns its digest."""
    with _readable(folder):
        hashes = json.loads((folder / HASHES).read_bytes())
        for name in (TENSORS, PLAIN):
            if sha256_of(folder / name) != hashes[name]:
                raise ArtifactCorrupt(f"{folder / name} was changed: its sha256 differs", ADVICE)
        return sha256_of(folder / HASHES)


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactCorrupt(f"{folder} cannot be read: {error}", ADVICE) from error
