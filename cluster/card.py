"""What is written beside a registered model's weights: the record, and the card made from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aigc import __version__
from aigc.data.files import write_json, write_text
from aigc.errors import MetricUnknown
from aigc.layout import Layout
from aigc.metrics import METRICS, parse
from aigc.models import FAMILIES
from aigc.models.artifact import Artifact
from cluster.code import code_digest
from cluster.evaluation import Evaluation
from cluster.judgement import Gates

RECORD, CARD = "record.json", "card.md"


@dataclass(frozen=True)
class Record:
    """All that is known of a model when it is registered as a version of `model`. Plain data.

    `digest` is of the exact weights; `evaluation` is as `Evaluation.as_dict` has it and holds the
    digests of the held-out data and of the extractor. `code` is of the program that made it.
    """

    model: str
    submission: str
    digest: str
    layout: dict[str, Any]
    config: dict[str, Any]
    trained_on: dict[str, Any]
    spec: dict[str, Any]
    evaluation: dict[str, Any] | None
    gates: dict[str, Any] | None
    program: str
    code: str

    @property
    def family(self) -> str:
        """The model's family."""
        family: str = self.config["family"]
        return family


def record_of(
    model: str,
    submission: str,
    artifact: Artifact,
    spec: Mapping[str, Any],
    evaluation: Evaluation | None,
    gates: Gates | None,
) -> Record:
    """The record of a trained model, by the program that is running."""
    return Record(
        model=model,
        submission=submission,
        digest=artifact.digest,
        layout=artifact.model.layout.model_dump(mode="json"),
        config=artifact.config.model_dump(mode="json"),
        trained_on=artifact.trained_on,
        spec=dict(spec),
        evaluation=evaluation.as_dict() if evaluation else None,
        gates=gates.model_dump(mode="json") if gates else None,
        program=__version__,
        code=code_digest(),
    )


def write_card(folder: Path, record: Record) -> None:
    """Write record.json for programs and card.md for people. Raises WorkspaceUnwritable."""
    write_json(folder / RECORD, {"format": 1, **asdict(record)})
    write_text(folder / CARD, card(record))


def card(record: Record) -> str:
    """The model card, Markdown."""
    sections = {
        "What it is": _what(record),
        "Trained on": _data(record),
        "Figures": _figures(record),
        "Gates": _gates(record),
        "Limits": _limits(record),
        "Where it comes from": _origin(record),
    }
    parts = [f"# {record.model}"]
    parts += [f"## {title}\n" + "\n".join(lines) for title, lines in sections.items()]
    return "\n\n".join(parts) + "\n"


def _what(record: Record) -> Iterator[str]:
    layout = Layout.model_validate(record.layout, strict=False)
    shape = " × ".join(map(str, layout.shape))
    yield f"A {record.family} for records of {layout.modality}, {shape} each."
    if layout.labels:
        yield f"\nAsked for one of {layout.classes} classes: {', '.join(layout.labels)}."
    fields = {name: value for name, value in record.config.items() if not isinstance(value, dict)}
    yield f"\n{', '.join(f'{name} {value}' for name, value in fields.items())}."


def _data(record: Record) -> Iterator[str]:
    trained = record.trained_on
    yield f"`{trained['dataset']}`, the split train; digest `{trained['digest']}`."
    for name, share in (trained.get("mixture") or {}).items():
        yield f"- {share:.0%} of every batch from `{name}`"


def _figures(record: Record) -> Iterator[str]:
    found = record.evaluation
    if found is None:
        yield "None were taken."
        return
    yield "| metric | figure | what it says |\n|---|---|---|"
    for name, figure in found["figures"].items():
        yield f"| {name} | {figure:.4g} | {_says(name)} |"
    data = f"`{found['dataset']}` (`{found['dataset_digest'][:12]}`)"
    taken = f"\nTaken on the held-out split of {data}, seed {found['seed']}"
    if found["extractor_digest"] is None:
        yield f"{taken}."
        return
    extractor = f"`{found['extractor_digest'][:12]}`"
    yield f"{taken}, from {found['samples']:,} samples in the features of extractor {extractor}."
    yield f"The training split itself is at a Fréchet distance of {found['floor']:.4g}."


def _says(name: str) -> str:
    try:
        metric = METRICS[parse(name).metric]
    except MetricUnknown:
        return ""
    return f"{metric.description}; {metric.better} is better"


def _gates(record: Record) -> Iterator[str]:
    gates = Gates.model_validate(record.gates or {})
    if not gates.metrics:
        yield "None: it becomes champion by force only."
    for metric, bound in gates.bounds.items():
        yield f"- {metric} {bound}"
    if gates.better_than_champion:
        yield f"- {gates.better_than_champion} better than the champion's"
    if gates.metrics:
        yield "\nWhat they said, and every move of its aliases: `aigc model history`."


def _limits(record: Record) -> Iterator[str]:
    family = FAMILIES[record.family]
    figures = (record.evaluation or {}).get("figures", {})
    if not family.generative:
        yield "- It makes no samples: figures of others are taken in its features."
        return
    yield "- It makes what resembles its training data, with what is wrong or missing in them."
    yield "- Figures compare only under the same extractor, on the same held-out data."
    if not any(name.startswith("neighbour_ratio") for name in figures):
        yield "- Whether it repeats training records was not measured (neighbour_ratio)."
    if not any(name.startswith(("recall", "coverage")) for name in figures):
        yield "- Whether it leaves kinds of records out was not measured (coverage, recall)."


def _origin(record: Record) -> Iterator[str]:
    yield f"- submission `{record.submission}`; its resolved spec is in `{RECORD}`"
    yield f"- weights `{record.digest}`"
    yield f"- aigc-factory {record.program}, code `{record.code}`"
