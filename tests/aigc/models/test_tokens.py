"""Records become tokens and come back; what is fitted is in arrays."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from aigc.data.batches import Batch
from aigc.errors import ModalityUnsupported
from aigc.layout import Layout
from aigc.models.tokens import (
    END,
    IGNORED,
    ByteTokens,
    CharacterTokens,
    PairTokens,
    PatchTokens,
    TextTokens,
)
from aigc.seeding import Draws

LENGTH = 24
LAYOUT = Layout(modality="text", shape=(LENGTH,))
CORPUS = ["the cat and the hat, that", "über the café", "the theme of the 12 cats"]
DRAWS = Draws(0, 0)


def records(*texts: str | bytes) -> Tensor:
    rows = [text.encode() if isinstance(text, str) else text for text in texts]
    padded = [list(row[:LENGTH].ljust(LENGTH, b"\0")) for row in rows]
    return torch.tensor(padded, dtype=torch.int64)


def fitted(tokens: TextTokens) -> TextTokens:
    tokens.fit([Batch(records(text), None) for text in CORPUS])
    return tokens


def every() -> list[TextTokens]:
    return [
        ByteTokens(LAYOUT),
        fitted(CharacterTokens(LAYOUT, 40)),
        fitted(PairTokens(LAYOUT, 270)),
    ]


def full(encoded: Tensor) -> Tensor:
    """Tokens (B, LENGTH), with an end where there is none to be."""
    ended = encoded.where(encoded != IGNORED, END)
    return torch.nn.functional.pad(ended, (0, LENGTH - encoded.shape[1]), value=END)


@pytest.mark.parametrize("tokens", every(), ids=lambda each: type(each).__name__)
def test_text_that_was_seen_comes_back(tokens: TextTokens) -> None:
    given = records(*CORPUS, "", "the")
    assert torch.equal(tokens.decode(full(tokens.encode(given, DRAWS))), given)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=LENGTH).map(lambda text: text.replace(b"\0", b" ")))
def test_pairs_of_bytes_hold_any_bytes_at_all(text: bytes) -> None:
    given = records(text)
    tokens = fitted(PairTokens(LAYOUT, 262))
    back = tokens.decode(full(tokens.encode(given, DRAWS)))
    # A full record may end in half a character, which is not written.
    kept = int((back != 0).sum())
    assert torch.equal(back[0, :kept], given[0, :kept])
    assert len(text) - kept < 4 if len(text) == LENGTH else kept == len(text)


def test_a_short_text_has_one_end_and_a_full_one_none() -> None:
    encoded = ByteTokens(LAYOUT).encode(records("ab", "y" * LENGTH), DRAWS)
    assert encoded[0].tolist() == [97, 98, END] + [IGNORED] * (LENGTH - 3)
    assert encoded[1].tolist() == [121] * LENGTH


def test_tokens_are_no_more_than_the_longest_text_needs() -> None:
    assert ByteTokens(LAYOUT).encode(records("ab", "abc"), DRAWS).shape == (2, 4)
    assert PairTokens(LAYOUT, 260).encode(records(""), DRAWS).tolist() == [[END]]


def test_nothing_counts_after_an_end() -> None:
    decoded = ByteTokens(LAYOUT).decode(torch.tensor([[97, END, 98] + [99] * (LENGTH - 3)]))
    assert torch.equal(decoded, records("a"))


def test_characters_that_the_training_data_lack_are_one() -> None:
    tokens = fitted(CharacterTokens(LAYOUT, 40))
    back = tokens.decode(full(tokens.encode(records("the ☃ X", b"\xff"), DRAWS)))
    assert torch.equal(back, records("the � �", "�"))


def test_of_too_many_characters_the_most_frequent_are_kept() -> None:
    tokens = CharacterTokens(LAYOUT, 4)
    tokens.fit([Batch(records("aaabbbc", "dddd"), None)])
    assert tokens.points.tolist() == [END, ord("a"), ord("d"), 0xFFFD]


def test_characters_that_would_overflow_the_record_are_left_out() -> None:
    tokens = CharacterTokens(LAYOUT, 4)
    tokens.fit([Batch(records("☃"), None)])
    decoded = tokens.decode(torch.full((1, LENGTH), tokens.points.tolist().index(ord("☃"))))
    assert torch.equal(decoded, records("☃" * (LENGTH // 3)))


def test_the_most_frequent_pair_is_merged_first() -> None:
    tokens = PairTokens(LAYOUT, 258)
    tokens.fit([Batch(records("nana nana", "nab"), None)])
    assert tokens.merges[0].tolist() == [ord("n"), ord("a")]
    assert tokens.encode(records("nab"), DRAWS)[0, 0] == 256


def test_merged_pairs_make_sequences_shorter() -> None:
    lengths = [each.encode(records(*CORPUS), DRAWS).shape[1] for each in every()]
    assert lengths[2] < lengths[0]


@pytest.mark.parametrize("kind", [CharacterTokens, PairTokens])
def test_what_was_fitted_is_in_arrays_of_a_known_shape(
    kind: type[CharacterTokens] | type[PairTokens],
) -> None:
    tokens, other = fitted(kind(LAYOUT, 300)), kind(LAYOUT, 300)
    other.load_state_dict(load(save(tokens.state_dict())))
    given = records(*CORPUS)
    assert torch.equal(other.encode(given, DRAWS), tokens.encode(given, DRAWS))
    assert torch.equal(other.known(), tokens.known())


@pytest.mark.parametrize("kind", [CharacterTokens, PairTokens])
def test_a_vocabulary_that_is_not_filled_has_tokens_that_do_not_exist(
    kind: type[CharacterTokens] | type[PairTokens],
) -> None:
    tokens = fitted(kind(LAYOUT, 2000))
    known, used = tokens.known(), tokens.encode(records(*CORPUS), DRAWS).unique()
    assert not known.all()
    assert known[used[used != IGNORED]].all()
    assert all(tokens.pieces()[token] for token in known.nonzero().flatten().tolist())


def test_the_order_of_the_batches_does_not_matter() -> None:
    for kind in (CharacterTokens, PairTokens):
        backwards = kind(LAYOUT, 270)
        backwards.fit([Batch(records(text), None) for text in reversed(CORPUS)])
        same = fitted(kind(LAYOUT, 270)).state_dict()
        assert all(torch.equal(same[name], value) for name, value in backwards.state_dict().items())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 4)])
@pytest.mark.parametrize(("levels", "patch"), [(2, 1), (2, 2), (4, 2), (16, 1)])
def test_images_of_a_few_levels_come_back(shape: tuple[int, ...], levels: int, patch: int) -> None:
    tokens = PatchTokens(Layout(modality="image", shape=shape), levels, patch)
    drawn = torch.randint(levels, (5, *shape), generator=torch.Generator().manual_seed(0))
    images = drawn * (2 / (levels - 1)) - 1
    encoded = tokens.encode(images, DRAWS)
    assert encoded.shape == (5, tokens.length)
    assert int(encoded.max()) < tokens.vocabulary
    torch.testing.assert_close(tokens.decode(encoded), images)


def test_patches_go_row_by_row_and_their_channels_follow_one_another() -> None:
    tokens = PatchTokens(Layout(modality="image", shape=(2, 4, 4)), 2, 2)
    image = torch.full((1, 2, 4, 4), -1.0)
    image[0, 1, 0, 2] = 1  # the second patch of the first row, second channel, first pixel
    image[0, 0, 3, 1] = 1  # the first patch of the second row, first channel, last pixel
    assert tokens.encode(image, DRAWS).tolist() == [[0, 0, 0, 1, 8, 0, 0, 0]]


def test_two_levels_are_drawn_with_the_intensity_and_more_are_the_nearest() -> None:
    layout = Layout(modality="image", shape=(1, 100, 100))
    images = torch.full((1, 1, 100, 100), -0.5)
    binary, fine = PatchTokens(layout, 2, 1), PatchTokens(layout, 8, 1)
    assert binary.encode(images, Draws(0, 1)).float().mean() == pytest.approx(0.25, abs=0.02)
    assert not torch.equal(binary.encode(images, Draws(0, 1)), binary.encode(images, Draws(0, 2)))
    assert fine.encode(images, DRAWS).unique().tolist() == [2]


def test_sides_must_be_whole_patches() -> None:
    with pytest.raises(ModalityUnsupported, match="8×6 cannot be cut into patches of 4×4"):
        PatchTokens(Layout(modality="image", shape=(1, 8, 6)), 2, 4)
