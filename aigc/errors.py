"""The errors of what is learned.

FactoryError                    what went wrong, where, and what to do next
├── DataError                   a dataset cannot be used as asked
│   ├── DatasetNotFound         no dataset of that name or version in the workspace
│   ├── ManifestInvalid         manifest.json is missing, unreadable or contradicts itself
│   ├── ShardCorrupt            a shard is missing, truncated, changed or of another schema
│   ├── StorageUnavailable      where the shards lie cannot be reached
│   └── ImportRefused           what was to be imported cannot be read
├── ModelError                  a model cannot be built or used
│   ├── ModalityUnsupported     the family cannot make that kind of content
│   └── ArtifactCorrupt         a stored model or checkpoint does not match its hashes
├── LabelError                  generated content and its label do not go together
│   ├── Unlabelled              there is no label where one must be
│   ├── LabelMalformed          the label breaks the standard, or its file the format
│   └── LabelForeign            the label is one of another standard
├── SignatureError              content cannot be signed, or its signature does not hold
├── MetricUnknown               no metric of that name
├── TrainingDiverged            the loss stopped being a finite number
├── Preempted                   the training was asked to stop, and saved its state
├── TrainingCollapsed           the samples lost their variety
└── WorkspaceUnwritable         the disk or its permissions refuse a write
"""

from __future__ import annotations


class FactoryError(Exception):
    """One sentence on what went wrong and where, and one on what to do next.

    Both parts are positional arguments, so that the error survives pickling between processes.
    """

    def __init__(self, what: str, next_step: str = "") -> None:
        super().__init__(what, next_step)
        self.what = what
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.what.rstrip('.')}. {self.next_step}" if self.next_step else self.what


class DataError(FactoryError):
    """A dataset cannot be used as asked."""


class DatasetNotFound(DataError):
    """No dataset of that name or version in the workspace."""


class ManifestInvalid(DataError):
    """manifest.json is missing, unreadable or contradicts itself."""


class ShardCorrupt(DataError):
    """A shard is missing, truncated, changed or of another schema."""


class StorageUnavailable(DataError):
    """Where the shards lie cannot be reached, or refuses to be read."""


class ImportRefused(DataError):
    """There is no such importer, or the name cannot be a dataset's."""


class ModelError(FactoryError):
    """A model cannot be built or used."""


class ModalityUnsupported(ModelError):
    """The family cannot make that kind of content."""


class ArtifactCorrupt(ModelError):
    """A stored model or checkpoint does not match its hashes."""


class LabelError(FactoryError):
    """Generated content and its label do not go together."""


class Unlabelled(LabelError):
    """There is no label where one must be."""


class LabelMalformed(LabelError):
    """The label breaks the standard, or the file that carries it its format."""


class LabelForeign(LabelError):
    """The label is one of another standard."""


class SignatureError(FactoryError):
    """Content cannot be signed, or its signature does not hold."""


class MetricUnknown(FactoryError):
    """No metric of that name."""


class TrainingDiverged(FactoryError):
    """The loss stopped being a finite number."""


class Preempted(FactoryError):
    """The training was asked to stop before its end, and saved its state."""


class TrainingCollapsed(FactoryError):
    """The samples lost their variety, and training was asked to stop then."""


class WorkspaceUnwritable(FactoryError):
    """The disk or its permissions refuse a write."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; libraries append whole traces to theirs."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
