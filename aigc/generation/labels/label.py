"""The label that says of content that a machine made it.

GB 45438-2025, annex E: one JSON object of seven strings in the metadata of the file. Where each
format keeps it, the practice guides TC260-PG-2025 say.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ConfigDict, Field, ValidationError
from pydantic_core import to_json

from aigc.config import Config
from aigc.errors import LabelMalformed

AIGC = "AIGC"
"""The standard's key of the label, wherever metadata have keys."""

# What XML, YAML and JSON can all hold within a line: no control characters, no line separators.
_CHARACTERS = "^[\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*$"
Text = Annotated[str, Field(max_length=4096, pattern=_CHARACTERS)]


class Label(Config):
    """The seven strings of GB 45438-2025, each of which must be there, though it may be empty.

    `label` is "1" for what is generated, "2" for what may be, "3" for what is suspected to be.
    `content_producer` names who offers the generation, `produce_id` the content; those who pass it
    on name themselves and it in `content_propagator` and `propagate_id`. Both have a reserved
    string for what protects the label. Raises pydantic's ValidationError.
    """

    model_config = ConfigDict(populate_by_name=True)

    label: Literal["1", "2", "3"] = Field(alias="Label")
    content_producer: Text = Field(alias="ContentProducer")
    produce_id: Text = Field(alias="ProduceID")
    reserved_code1: Text = Field(alias="ReservedCode1")
    content_propagator: Text = Field(alias="ContentPropagator")
    propagate_id: Text = Field(alias="PropagateID")
    reserved_code2: Text = Field(alias="ReservedCode2")

    @classmethod
    def of_dataset(cls, producer: str, reference: str) -> Label:
        """The label of a generated dataset, NAME@VERSION, that nobody has passed on yet."""
        return cls(
            label="1",
            content_producer=producer,
            produce_id=reference,
            reserved_code1="",
            content_propagator="",
            propagate_id="",
            reserved_code2="",
        )

    def of_sample(self, sample: int) -> Label:
        """The label of one sample of the dataset that this is the label of."""
        return self.model_copy(update={"produce_id": f"{self.produce_id}/{sample}"})

    def texts(self, samples: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
        """The JSON object of each sample's label, as `of_sample(sample).as_json()` gives it."""
        text, name = self.as_json(), to_json(self.produce_id).decode()[:-1]
        before, _, after = text.partition(f'"ProduceID":{name}"')
        ids = samples.cast(pa.string())
        return pc.binary_join_element_wise(f'{before}"ProduceID":{name}/', ids, f'"{after}', "")

    def as_json(self) -> str:
        """The standard's JSON object, on one line."""
        return self.model_dump_json(by_alias=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Label:
        """The label of a JSON object. Raises LabelMalformed."""
        try:
            # By the standard's names alone: ours are no business of a file's.
            return cls.model_validate_json(text, by_alias=True, by_name=False)
        except ValidationError as error:
            raise malformed(error) from error


def malformed(error: ValidationError) -> LabelMalformed:
    """What is wrong with a label, in a sentence."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "the object"
    return LabelMalformed(
        f"the label is none of GB 45438-2025: {where}: {first['msg']}",
        "Write the label anew from the record",
    )
