"""A stored model comes back exactly, is refused when a byte differs, and never runs code."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from aigc.data.files import sha256_of
from aigc.errors import ArtifactCorrupt
from aigc.layout import Layout
from aigc.models import ModelConfig, build
from aigc.models.artifact import load_model, save_model
from aigc.models.attention import AttentionConfig
from aigc.models.classifier import ClassifierConfig
from aigc.models.gan import GANConfig
from aigc.models.quantiser import WordsConfig
from aigc.models.vae import VAEConfig
from aigc.seeding import sample_noise
from aigc.training.tensors import HASHES, PLAIN, TENSORS

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=tuple("0123456789"))
TRAINED_ON = {"dataset": "digits@1", "digest": "ab"}
CONFIGS: dict[str, ModelConfig] = {
    "gan": GANConfig(latent_size=8, width=8),
    "article": GANConfig(recipe="article", width=16),
    "vae": VAEConfig(latent_size=4, width=8, mixture=2),
    "attention": AttentionConfig(width=8, depth=1, heads=2),
    "words": AttentionConfig(
        width=8, depth=1, heads=2, words=WordsConfig(count=16, code_size=4, width=8)
    ),
    "classifier": ClassifierConfig(width=4),
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = build(CONFIGS["vae"], LAYOUT, seed=5)
    save_model(tmp_path / "model", model, CONFIGS["vae"], TRAINED_ON)
    return tmp_path / "model"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_comes_back_as_it_was_saved(name: str, tmp_path: Path) -> None:
    model = build(CONFIGS[name], LAYOUT, seed=5)
    digest = save_model(tmp_path, model, CONFIGS[name], TRAINED_ON)
    artifact = load_model(tmp_path)

    assert artifact.digest == digest
    assert artifact.config == CONFIGS[name]
    assert artifact.trained_on == TRAINED_ON
    assert artifact.model.layout == model.layout
    assert not artifact.model.training
    loaded = artifact.model.state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "classifier"])
def test_a_model_that_comes_back_makes_the_same_samples(name: str, tmp_path: Path) -> None:
    model, labels = build(CONFIGS[name], LAYOUT, seed=5).eval(), torch.tensor([0, 7])
    save_model(tmp_path, model, CONFIGS[name], TRAINED_ON)
    noise = sample_noise([1, 2], model.noise_size)
    with torch.no_grad():
        loaded = load_model(tmp_path).model.sample(noise, labels)
        assert torch.equal(loaded, model.sample(noise, labels))


def test_the_digest_names_the_weights_and_the_configuration(tmp_path: Path) -> None:
    def digest(config: ModelConfig, seed: int) -> str:
        return save_model(tmp_path, build(config, LAYOUT, seed), config, TRAINED_ON)

    first = digest(CONFIGS["gan"], 0)
    assert digest(CONFIGS["gan"], 0) == first
    assert digest(CONFIGS["gan"], 1) != first
    assert digest(GANConfig(latent_size=8, width=8, pixel_weight=0.5), 0) != first


def test_a_model_holds_arrays_and_plain_data_only(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == [HASHES, PLAIN, TENSORS]
    assert json.loads((saved / PLAIN).read_text())["config"]["family"] == "vae"
    assert b"aigc." not in b"".join(path.read_bytes() for path in saved.iterdir())


@pytest.mark.parametrize("name", [HASHES, PLAIN, TENSORS])
@pytest.mark.parametrize("position", [0.0, 0.3, 0.5, 0.99])
def test_a_flipped_byte_in_any_file_is_refused(name: str, position: float, saved: Path) -> None:
    path = saved / name
    content = bytearray(path.read_bytes())
    content[int(len(content) * position)] ^= 1
    path.write_bytes(content)
    digest = None if name != HASHES else sha256_of(path)

    # Whoever rewrites the list of hashes too is found by the digest that the registry holds.
    with pytest.raises(ArtifactCorrupt, match=r"Use the version before it, or train again"):
        assert load_model(saved).digest != digest


@pytest.mark.parametrize("name", [HASHES, PLAIN, TENSORS])
def test_a_missing_file_is_refused(name: str, saved: Path) -> None:
    (saved / name).unlink()

    with pytest.raises(ArtifactCorrupt, match="cannot be read"):
        load_model(saved)


class Trap:
    """Unpickling it leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.trace, "executed")


@pytest.mark.parametrize("name", [PLAIN, TENSORS])
def test_a_planted_pickle_is_not_executed(name: str, saved: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (saved / name).write_bytes(pickle.dumps(Trap(trace)))
    hashes = {each: sha256_of(saved / each) for each in (TENSORS, PLAIN)}
    (saved / HASHES).write_text(json.dumps(hashes))

    with pytest.raises(ArtifactCorrupt):
        load_model(saved)
    assert not trace.exists()
    pickle.loads((saved / name).read_bytes())
    assert trace.exists()


@pytest.mark.parametrize(
    "change", [{"config": {"family": "vae", "surprise": 1}}, {"config": {"family": "gan"}}, {}]
)
def test_a_model_of_another_version_says_so(
    change: dict[str, object], saved: Path, tmp_path: Path
) -> None:
    plain = json.loads((saved / PLAIN).read_text())
    plain = {**plain, **change} if change else {"format": 1}
    (saved / PLAIN).write_text(json.dumps(plain))
    hashes = {each: sha256_of(saved / each) for each in (TENSORS, PLAIN)}
    (saved / HASHES).write_text(json.dumps(hashes))

    with pytest.raises(ArtifactCorrupt, match="another version of this program"):
        load_model(saved)
