from __future__ import annotations

import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aigc.errors import ModalityUnsupported
from aigc.layout import Layout
from aigc.modalities import modality
from aigc.modalities.text import SHORTEST, pieces, texts
from aigc.models import FAMILIES, build

TEXT = modality("text")
LAYOUT = Layout(modality="text", shape=(12,))


def stored(*records: str) -> torch.Tensor:
    padded = [list(record.encode().ljust(12, b"\0")) for record in records]
    return torch.tensor(padded, dtype=torch.uint8)


@given(st.text(), st.integers(SHORTEST, 20))
def test_pieces_are_the_document_again_and_cut_no_character(text: str, length: int) -> None:
    document = text.encode()
    found = list(pieces(document, length))

    assert b"".join(piece for _, piece in found) == document
    assert [document[start : start + len(piece)] for start, piece in found] == [p for _, p in found]
    assert all(piece.decode() for _, piece in found)
    assert all(length - 3 <= len(piece) <= length for _, piece in found[:-1])


@given(st.binary(max_size=60), st.integers(SHORTEST, 20))
def test_bytes_that_are_no_text_are_cut_too(document: bytes, length: int) -> None:
    found = [piece for _, piece in pieces(document, length)]

    assert b"".join(found) == document
    assert all(1 <= len(piece) <= length for piece in found)


def test_what_is_stored_is_read_back() -> None:
    records = stored("hello", "größer", "")
    column = TEXT.to_column(records)

    assert column.type == TEXT.column_type(LAYOUT) == pa.binary(12)
    assert torch.equal(TEXT.from_column(column, LAYOUT), records)
    assert torch.equal(TEXT.from_column(column.slice(1), LAYOUT), records[1:])


def test_a_column_of_strings_is_refused() -> None:
    with pytest.raises(ValueError, match="not as string"):
        TEXT.from_column(pa.array(["hello"]), LAYOUT)


def test_tokens_are_bytes() -> None:
    tokens = TEXT.decode(stored("aé"))

    assert tokens.dtype == torch.int64
    assert tokens[0].tolist() == [97, 0xC3, 0xA9, *[0] * 9]


def test_encoding_is_the_inverse_of_decoding() -> None:
    every_byte = torch.arange(256, dtype=torch.uint8).reshape(4, 64)

    assert torch.equal(TEXT.encode(TEXT.decode(every_byte)), every_byte)
    assert TEXT.encode(torch.tensor([-1, 256])).tolist() == [0, 255]


def test_white_space_and_padding_are_blank() -> None:
    records = stored("", " \t\r\n", "\u2003\u00a0", "  .", "0")

    assert TEXT.is_blank(records).tolist() == [True, True, True, False, False]


def test_no_records_are_no_blank_ones() -> None:
    assert TEXT.is_blank(torch.empty((0, 12), dtype=torch.uint8)).shape == (0,)


def test_records_are_shown_as_text() -> None:
    assert list(texts(stored("größer"))) == ["größer"]
    assert list(texts(torch.tensor([[0xFF, 65, 0]], dtype=torch.uint8))) == ["\ufffdA"]


def test_a_sheet_has_a_cell_for_each_record() -> None:
    sheet = TEXT.sheet(stored("hello", "", "new\nline", "\x07", "日本"), columns=2)
    empty = TEXT.sheet(stored("", "", "", "", ""), columns=2)
    cells = [(x, y, x + 175, y + 131) for y in (1, 133, 265) for x in (1, 177)]

    assert sheet.size == empty.size
    assert [sheet.crop(c).getcolors() == empty.crop(c).getcolors() for c in cells] == [
        False,
        True,
        False,
        True,
        False,
        True,
    ]


def test_a_long_text_stays_in_its_cell() -> None:
    record = torch.full((2, 4000), ord("W"), dtype=torch.uint8)
    record[1] = ord(" ")
    sheet = TEXT.sheet(record, columns=2)

    assert sheet.crop((178, 1, 350, 130)).getextrema() == (255, 255)


@pytest.mark.parametrize(
    "family", [name for name, each in FAMILIES.items() if "text" not in each.modalities]
)
def test_families_that_make_no_text_say_so(family: str) -> None:
    config = FAMILIES[family].config(family=family)

    with pytest.raises(ModalityUnsupported, match=f"{family} makes image.*holds text"):
        build(config, LAYOUT, seed=0)


def test_a_transcript_has_every_text_whole_and_nothing_that_a_terminal_obeys() -> None:
    records = stored("one\ntwo", "ta\tb", "Málaga", "\x1b[2Jgone")

    assert TEXT.transcript(records) == (
        "--- 0\none\ntwo\n--- 1\nta\tb\n--- 2\nMálaga\n--- 3\n�[2Jgone\n"
    )
    assert modality("image").transcript(torch.zeros(2, 1, 4, 4, dtype=torch.uint8)) is None
