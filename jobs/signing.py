"""Media files that leave a dataset: signed, where the spec that made it says so."""

from __future__ import annotations

from pathlib import Path

from aigc.data.catalog import Dataset
from aigc.data.files import writing
from aigc.generation.media import MediaFile
from aigc.generation.plan import ModelReference
from aigc.generation.signatures import Credentials, sign, verify
from cluster.workspace import Workspace
from jobs.sections import Signing
from jobs.spec import Generate, load


def signing_of(workspace: Workspace, dataset: Dataset) -> Signing | None:
    """What the media files of a generated dataset are to be signed with.

    Raises SpecInvalid if the spec that made it is gone or damaged: nobody knows then.
    """
    spec = load(workspace.run(dataset.manifest.source["submission"]).spec)
    return spec.publish.signature if isinstance(spec, Generate) else None


def save(path: Path, file: MediaFile, signing: Signing | None, model: ModelReference) -> str:
    """Write a media file, signed last and read back if it is to be signed; by whom it is signed.

    Raises SignatureError, LabelError and WorkspaceUnwritable, and writes nothing then.
    """
    if signing is None:
        content, credentials = file.content, None
    else:
        certificates, key = Path(signing.certificates), Path(signing.key)
        credentials = Credentials.read(certificates.expanduser(), key.expanduser())
        content = sign(file.content, file.suffix, credentials, model)
    with writing(path) as partial:
        partial.write_bytes(content)
        if credentials is None:
            return ""
        return verify(partial.read_bytes(), file.suffix, credentials.root).signer
