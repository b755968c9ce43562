"""aigc data import, from the command line to what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.cli import main


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    source = np.random.default_rng(0)
    for number in range(20):
        pixels = source.integers(1, 255, (9, 9), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    Image.fromarray(pixels + 1).save(folder / "nearly.png")
    Image.fromarray(pixels[:4]).save(folder / "small.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def run(tmp_path: Path, *words: str) -> int:
    return main(["--workspace", str(tmp_path / "workspace"), "data", "import", *words])


def test_an_import_says_what_was_rejected_and_where_it_is(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "images", str(pictures), "--name", "pets", "-o", "json") == 0
    printed = capsys.readouterr()
    shown = json.loads(printed.out)
    (folder,) = (tmp_path / "workspace" / "datasets" / "pets").iterdir()

    assert shown["records"] == 21
    assert printed.err.splitlines() == [
        f"importing {pictures}, 0.0 MiB, --on here",
        "rejected 1: undecodable",
        "rejected 1: wrong shape",
        f"of 23 records; they are in {folder / 'quarantine'}",
        f"near-duplicates, kept: 2 records, listed in {folder / 'near-duplicates.parquet'}",
        f"imported pets@{folder.name}",
    ]
    assert run(tmp_path, "images", str(pictures), "--name", "pets") == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"pets@{folder.name} was there already"


def test_every_option_reaches_the_import(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"image": f"{number:02d}.png", "class": number % 3} for number in range(20)]
    (pictures / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["jsonl", str(pictures / "t.jsonl"), "--name", "pets", "--column", "image"]
    words += ["--label", "class", "--shape", "3,4,5", "--resize", "--on", "here"]
    assert run(tmp_path, *words, "--split", "test=0.5", "--split", "validation=0") == 0
    capsys.readouterr()
    assert (
        main(["--workspace", str(tmp_path / "workspace"), "data", "show", "pets", "-o", "json"])
        == 0
    )
    shown = json.loads(capsys.readouterr().out)

    assert shown["shape"] == [3, 4, 5]
    assert shown["labels"] == ["0", "1", "2"]
    assert set(shown["splits"]) == {"train", "test"}
    assert shown["source"]["splits"] == {"validation": 0.0, "test": 0.5}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shape", "8x8"], "write it as 3,64,64"),
        (["--split", "test=much"], "'much' is no number"),
        (["--split", "train=0.5"], "write validation=0.1 or test=0.1"),
        (["--split", "test=1.5"], "no shares"),
        (["--length", "16"], "images has no use for --length"),
        (["--on", "cloud"], "cloud"),
    ],
)
def test_wrong_options_are_wrong_usage(
    words: list[str],
    said: str,
    tmp_path: Path,
    pictures: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(tmp_path, "images", str(pictures), "--name", "pets", *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "workspace").exists()
