"""Records as a report shows them."""

from __future__ import annotations

import io

import torch
from PIL import Image

from aigc.data.catalog import Dataset
from aigc.layout import Layout
from jobs.report import Picture
from jobs.report.pictures import contact_sheet, extremes, shown


def test_an_image_is_a_picture_and_a_text_its_words(digits: Dataset) -> None:
    layout = digits.manifest.layout
    record = digits.records("train").stored[0]
    picture = shown(record, layout)
    assert isinstance(picture, Picture)
    assert Image.open(io.BytesIO(picture.png)).size == (picture.width, picture.height)
    words = torch.tensor([*"né".encode(), 0, 0], dtype=torch.uint8)
    assert shown(words, Layout(modality="text", shape=(5,))) == "né"


def test_a_sheet_has_its_group(digits: Dataset) -> None:
    stored = digits.records("train").stored[:20]
    sheet = contact_sheet(stored, digits.manifest.layout, "Tonight", "Twenty", "Same seeds")
    assert sheet.group == "Same seeds"
    assert Image.open(io.BytesIO(sheet.png)).size == (sheet.width, sheet.height)


def test_the_nearest_and_the_farthest_leave_out_what_has_no_distance() -> None:
    nearest, farthest = extremes(torch.tensor([3.0, torch.nan, 1.0, 2.0]), 2)
    assert nearest.tolist() == [2, 3]
    assert farthest.tolist() == [3, 0]
    assert [len(each) for each in extremes(torch.tensor([torch.nan]), 2)] == [0, 0]
