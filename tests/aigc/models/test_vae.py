from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load, save
from torch import Tensor

from aigc.layout import Layout
from aigc.models import build
from aigc.models.contract import Batch
from aigc.models.losses import gaussian_kl
from aigc.models.vae import VAE, LatentMixture, VAEConfig
from aigc.seeding import Draws

LAYOUT = Layout(modality="image", shape=(1, 8, 8), labels=("a", "b"))
SMALL = VAEConfig(width=8, latent_size=3, mixture=2)


def built(config: VAEConfig, seed: int = 0, layout: Layout = LAYOUT) -> VAE:
    model = build(config, layout, seed)
    assert isinstance(model, VAE)
    return model


def two_blobs(rows: int) -> Tensor:
    """Half the rows about (−5, 0), half about (+5, 0), with a standard deviation of 0.5."""
    noise = 0.5 * torch.randn(rows, 2, generator=torch.Generator().manual_seed(0))
    sides = torch.tensor([-5.0, 5.0]).repeat(rows // 2)
    return noise + torch.stack([sides, torch.zeros(rows)], dim=1)


def batches(layout: Layout, count: int = 3) -> list[Batch]:
    source = torch.Generator().manual_seed(0)
    rows = [torch.rand(20, *layout.shape, generator=source) * 2 - 1 for _ in range(count)]
    labels = torch.arange(20) % 2 if layout.classes else None
    return [Batch(records, labels) for records in rows]


def test_an_unfitted_mixture_is_the_prior() -> None:
    noise = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(LatentMixture(3, 2, 3)(noise, torch.zeros(50).long()), noise[:, :3])


def test_a_fitted_mixture_has_the_mean_and_spread_of_its_data() -> None:
    mixture, latents = LatentMixture(2, 2, 2), two_blobs(1000)
    mixture.fit(1, latents, seed=0)
    noise = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(1))
    drawn = mixture(noise, torch.ones(20_000).long())
    torch.testing.assert_close(drawn.mean(0), latents.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), latents.T.cov(), atol=0.4, rtol=0)
    assert (drawn[:, 0].abs() > 2.5).all()
    untouched = mixture(noise, torch.zeros(20_000).long())
    assert torch.equal(untouched, noise[:, :2])


def test_a_class_smaller_than_the_mixture_never_draws_the_empty_components() -> None:
    mixture = LatentMixture(1, 5, 2)
    mixture.fit(0, 9 + torch.rand(4, 2, generator=torch.Generator().manual_seed(0)), seed=0)
    drawn = mixture(3 * torch.randn(500, 3, generator=torch.Generator().manual_seed(0)), None)
    assert (drawn > 5).all()


def test_a_class_of_one_record_keeps_the_prior() -> None:
    mixture = LatentMixture(1, 2, 2)
    mixture.fit(0, torch.full((1, 2), 9.0), seed=0)
    assert mixture(torch.ones(1, 3), None).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("labels", [("a", "b"), ()])
def test_the_mixture_survives_safetensors(labels: tuple[str, ...]) -> None:
    layout = LAYOUT.model_copy(update={"labels": labels})
    model, other = built(SMALL, 0, layout), built(SMALL, 1, layout)
    model.finish(batches(layout), seed=0)
    assert not torch.equal(model.mixture.means, torch.zeros_like(model.mixture.means))
    other.load_state_dict(load(save(model.state_dict())))
    noise = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(6) % 2 if labels else None
    assert torch.equal(model.sample(noise, rows), other.sample(noise, rows))


def test_the_mixture_is_fitted_the_same_from_the_same_seed() -> None:
    models = [built(SMALL), built(SMALL)]
    for model in models:
        model.finish(batches(LAYOUT), seed=4)
    assert torch.equal(models[0].mixture.factors, models[1].mixture.factors)


def test_without_a_mixture_samples_come_from_the_prior() -> None:
    model = built(SMALL.model_copy(update={"mixture": 0}))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.finish(batches(LAYOUT), seed=0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    noise, labels = torch.ones(1, 3), torch.tensor([1])
    assert torch.equal(model.sample(noise, labels), model.decode(noise, labels))


def test_the_elbo_of_a_blind_model_is_known() -> None:
    """With every weight 0 the posterior is the prior and each pixel is a fair coin."""
    model = built(SMALL)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    (batch,) = batches(LAYOUT, 1)
    bound = model.elbo(batch.records, batch.labels, Draws(0, 0))
    torch.testing.assert_close(bound, torch.full((20,), -64 * math.log(2)))


@pytest.mark.parametrize("decoder", ["bernoulli", "gaussian"])
def test_the_loss_at_full_weight_is_minus_the_elbo(decoder: str) -> None:
    changes = {"decoder": decoder, "reconstruction_weight": 1.0}
    model = built(SMALL.model_copy(update=changes))
    (batch,) = batches(LAYOUT, 1)
    loss = model.phases()[0].loss(batch, Draws(0, 0), 0.99)["loss"]
    torch.testing.assert_close(loss, -model.elbo(*batch, Draws(0, 0)).mean())


def blind(config: VAEConfig = SMALL) -> VAE:
    """Its decoder says 1/2 of each pixel whatever the latents, so that log p(x) is known."""
    model = built(config)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    return model


def test_the_likelihood_is_exact_where_it_is_known_though_the_posterior_is_not_the_prior() -> None:
    model, (batch,) = blind(), batches(LAYOUT, 1)
    mean, log_variance = model.encode(*batch)
    assert gaussian_kl(mean, log_variance).mean() > 1e-3
    found = model.log_likelihood(*batch, Draws(0, 0), count=2000)
    torch.testing.assert_close(found, torch.full((20,), -64 * math.log(2)), atol=0.05, rtol=0)


def test_one_draw_of_the_likelihood_is_the_bound_in_expectation() -> None:
    model, (batch,) = built(SMALL), batches(LAYOUT, 1)
    draws = range(400)
    single = torch.stack([model.log_likelihood(*batch, Draws(0, n), count=1) for n in draws])
    bounds = torch.stack([model.elbo(*batch, Draws(0, n)) for n in draws])
    torch.testing.assert_close(single.mean(0), bounds.mean(0), atol=0.05, rtol=0)


def test_free_bits_leave_the_reported_kl_and_the_bound_alone() -> None:
    (batch,) = batches(LAYOUT, 1)
    plain, free = built(SMALL), built(SMALL.model_copy(update={"free_bits": 2.0}))
    usual, figures = (model.phases()[0].loss(batch, Draws(0, 0), 0.5) for model in (plain, free))
    assert torch.equal(figures["kl"], usual["kl"])
    assert figures["loss"] > usual["loss"] + 3
    assert torch.equal(free.elbo(*batch, Draws(0, 0)), plain.elbo(*batch, Draws(0, 0)))


def test_binarised_pixels_are_drawn_with_their_intensities() -> None:
    model = blind(SMALL.model_copy(update={"binarise": True, "decoder": "bernoulli"}))
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    records = torch.full((500, 1, 8, 8), 0.5)
    for step in (0, 0, 1):
        model.elbo(records, torch.zeros(500).long(), Draws(0, step))
    assert set(seen[0].unique().tolist()) == {-1.0, 1.0}
    assert seen[0].mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_binarised_black_and_white_stay_what_they_are() -> None:
    (batch,) = batches(LAYOUT, 1)
    records = batch.records.sign()
    drawn = built(SMALL.model_copy(update={"binarise": True}))._seen(records, Draws(0, 0))
    assert torch.equal(drawn, records)


def test_only_bits_are_drawn_for_the_bernoulli_decoder() -> None:
    with pytest.raises(ValidationError, match="binarise needs the decoder bernoulli"):
        VAEConfig(decoder="gaussian", binarise=True)


def test_the_kl_warms_up_and_lambda_weighs_the_reconstruction() -> None:
    model = built(SMALL.model_copy(update={"warm_up": 0.5, "reconstruction_weight": 3.0}))
    (batch,) = batches(LAYOUT, 1)
    for progress, weight in [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.9, 1.0)]:
        figures = model.phases()[0].loss(batch, Draws(0, 0), progress)
        expected = weight * figures["kl"] + 3.0 * figures["reconstruction"]
        torch.testing.assert_close(figures["loss"].detach(), expected)


def test_training_raises_the_elbo() -> None:
    model, labels = built(SMALL), torch.arange(20) % 2
    batch = Batch((labels * 2.0 - 1).reshape(-1, 1, 1, 1).expand(20, 1, 8, 8), labels)
    (phase,) = model.phases()
    optimizer = torch.optim.Adam(phase.parameters, lr=1e-2)
    before = model.elbo(*batch, Draws(0, 0)).mean()
    for step in range(30):
        optimizer.zero_grad()
        phase.loss(batch, Draws(0, step), 0.5)["loss"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    bound = torch.stack([model.elbo(*batch, Draws(0, step)) for step in range(20)]).mean()
    assert bound > before + 20
    assert model.log_likelihood(*batch, Draws(0, 0)).mean() > bound
