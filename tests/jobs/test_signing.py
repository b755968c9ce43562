"""Media files of a dataset are signed where its spec says so, whenever one leaves it."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from authority import Authority
from cryptography.hazmat.primitives.asymmetric import ec

from aigc.data.importers import import_dataset
from aigc.generation.labels import CARRIERS
from aigc.generation.signatures import verify
from jobs.cli import main
from jobs.errors import SpecInvalid
from jobs.spec import load
from jobs.specs import SPECS

SPEC = """kind: generate
name: night
model: toy@1
count: 20
publish:
  dataset: night
  signature: {certificates: FOLDER/signer.pem, key: FOLDER/signer.key}
"""
AUTHORITY = Authority.new()
CREDENTIALS = AUTHORITY.credentials(ec.generate_private_key(ec.SECP256R1()))


def aigc(folder: Path, *words: str) -> tuple[int, str]:
    """The exit code, and all that was said."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = main(["--workspace", str(folder / "workspace"), *words])
    assert "fault of aigc" not in said.getvalue()
    assert "PRIVATE KEY" not in said.getvalue()
    return code, said.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a night whose spec names the credentials beside it."""
    folder = tmp_path_factory.mktemp("signing")
    import_dataset(folder / "workspace" / "datasets", "digits")
    toy = ("training.steps=4", "evaluation.metrics=[]", "registry={model: toy}")
    changes = [word for each in toy for word in ("--set", each)]
    gan = str(SPECS / "tiny" / "gan.yaml")
    assert aigc(folder, "submit", gan, "--yes", "--on", "here", *changes)[0] == 0
    (folder / "night.yaml").write_text(SPEC.replace("FOLDER", str(folder)))
    assert aigc(folder, "submit", str(folder / "night.yaml"), "--yes", "--on", "here")[0] == 0
    return folder


@pytest.fixture(autouse=True)
def _credentials(folder: Path) -> None:
    """Good ones before each test."""
    (folder / "signer.pem").write_bytes(CREDENTIALS.certificates)
    (folder / "signer.key").unlink(missing_ok=True)
    (folder / "signer.key").write_bytes(CREDENTIALS.key)
    (folder / "signer.key").chmod(0o600)


def saved(folder: Path, file: Path) -> tuple[int, str]:
    return aigc(folder, "data", "explain", "night", "3", "--save", str(file))


def test_a_file_that_leaves_the_dataset_is_signed_last(folder: Path, tmp_path: Path) -> None:
    code, said = saved(folder, tmp_path / "3.png")

    assert code == 0, said
    assert f"wrote {tmp_path / '3.png'}, signed by Example signer" in said
    written = (tmp_path / "3.png").read_bytes()
    assert verify(written, "png", AUTHORITY.root).model == "toy@1"
    assert CARRIERS["png"].read(written).produce_id.endswith("3")


def break_nothing_but(folder: Path, what: str) -> None:
    key, certificates = folder / "signer.key", folder / "signer.pem"
    match what:
        case "no key":
            key.unlink()
        case "a key that others can read":
            key.chmod(0o644)
        case "no certificates":
            certificates.unlink()
        case "bad certificates":
            certificates.write_text("no certificate")
        case "a root of strangers":
            signer = CREDENTIALS.certificates.removesuffix(AUTHORITY.root)
            certificates.write_bytes(signer + Authority.new("Stranger").root)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no key", "the private key for signing in FOLDER/signer.key cannot be read: No such file"),
        ("a key that others can read", "FOLDER/signer.key can be read by other users"),
        ("no certificates", "certificates for signing in FOLDER/signer.pem cannot be read"),
        ("bad certificates", "cannot be signed"),
        ("a root of strangers", "the file's signature does not hold"),
    ],
)
def test_credentials_that_do_not_do_are_one_sentence_and_nothing_is_written(
    folder: Path, tmp_path: Path, what: str, words: str
) -> None:
    break_nothing_but(folder, what)
    code, said = saved(folder, tmp_path / "3.png")

    assert code == 100
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert words.replace("FOLDER", str(folder)) in error
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_whose_spec_is_gone_is_not_saved_unsigned(folder: Path, tmp_path: Path) -> None:
    (spec,) = folder.glob("workspace/runs/night-*/spec.yaml")
    spec.rename(spec.with_suffix(".away"))
    code, said = saved(folder, tmp_path / "3.png")
    spec.with_suffix(".away").rename(spec)

    assert code == 2
    assert "spec.yaml" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["-----BEGIN PRIVATE KEY-----", "MIGHAgEAMBMG", "/a\nb"])
def test_the_content_of_a_key_has_no_place_in_a_spec(folder: Path, content: str) -> None:
    text = SPEC.replace("FOLDER/signer.key", '"' + content.replace("\n", "\\n") + '"')
    (folder / "wrong.yaml").write_text(text.replace("FOLDER", str(folder)))
    with pytest.raises(SpecInvalid, match="must be the path of a PEM file") as refused:
        load(folder / "wrong.yaml")
    assert content not in str(refused.value)
