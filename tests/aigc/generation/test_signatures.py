"""A signature covers the whole file, names who signed and which model made it, and needs no net."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from authority import PEM, PKCS8, PLAIN, Authority, Key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from aigc.errors import SignatureError, Unlabelled
from aigc.generation import signatures
from aigc.generation.byte_rows import rows_of
from aigc.generation.labels import CARRIERS
from aigc.generation.labels.label import Label
from aigc.generation.plan import ModelReference
from aigc.generation.png_files import AFTER_HEADER, SIGNATURE, TEXT, chunk, chunks, encode
from aigc.generation.signatures import Credentials, Signature, sign, verify
from aigc.modalities.image_files import read_image

MODEL = ModelReference(name="digits", version=3, digest="ab" * 32)
LABEL = Label.of_dataset("Example Ltd", "night@f750d6018c20").of_sample(5)
PIXELS = np.arange(28 * 28, dtype=np.uint8).reshape(1, 28, 28)
PNG = CARRIERS["png"].write(encode(PIXELS), LABEL)


AUTHORITY = Authority.new()
CREDENTIALS = AUTHORITY.credentials(ec.generate_private_key(ec.SECP256R1()))
SIGNED = sign(PNG, "png", CREDENTIALS, MODEL)


def test_a_signature_names_signer_and_model() -> None:
    assert verify(SIGNED, "png", AUTHORITY.root) == Signature("Example signer", "digits@3")


def test_label_and_pixels_are_there_after_signing() -> None:
    assert CARRIERS["png"].read(SIGNED) == LABEL
    assert np.array_equal(read_image(SIGNED), PIXELS)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_keys_of_other_kinds_sign_too(key: Key) -> None:
    signed = sign(PNG, "png", AUTHORITY.credentials(key), MODEL)

    assert verify(signed, "png", AUTHORITY.root).signer == "Example signer"


def test_a_key_of_openssls_old_form_signs_too() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    old = key.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, PLAIN)
    signed = sign(PNG, "png", Credentials(AUTHORITY.credentials(key).certificates, old), MODEL)

    assert verify(signed, "png", AUTHORITY.root).model == "digits@3"


def parts_of(png: bytes) -> list[tuple[bytes, bytes]]:
    return [(kind, content.tobytes()) for kind, content in chunks(rows_of([png]))]


STORE = next(len(content) for kind, content in parts_of(SIGNED) if kind == b"caBX")
OUTSIDE = len(SIGNED) - AFTER_HEADER - STORE - 12
"""Bytes behind the signature's own chunk, which is the second one; in front of it are others."""


@given(st.integers(-OUTSIDE, AFTER_HEADER - 1), st.integers(1, 255))
def test_no_byte_that_was_changed_after_signing_goes_unseen(place: int, change: int) -> None:
    changed = bytearray(SIGNED)
    changed[place] ^= change

    with pytest.raises(SignatureError, match="does not hold"):
        verify(bytes(changed), "png", AUTHORITY.root)


def test_a_label_that_was_exchanged_no_longer_holds() -> None:
    other = CARRIERS["png"].write(encode(PIXELS), LABEL.model_copy(update={"label": "2"}))
    packet = next(content for kind, content in parts_of(other) if kind == TEXT)
    parts = [(kind, packet if kind == TEXT else content) for kind, content in parts_of(SIGNED)]
    changed = SIGNATURE + b"".join(chunk(kind, content) for kind, content in parts)

    assert CARRIERS["png"].read(changed).label == "2"
    with pytest.raises(SignatureError, match="does not hold"):
        verify(changed, "png", AUTHORITY.root)


def test_a_signature_of_a_stranger_does_not_hold() -> None:
    with pytest.raises(SignatureError, match="untrusted"):
        verify(SIGNED, "png", Authority.new("Stranger").root)


@pytest.mark.parametrize(("media", "roots"), [(PNG, None), (b"", None), (SIGNED, b"\xff")])
def test_what_cannot_be_verified_does_not_hold(media: bytes, roots: bytes | None) -> None:
    with pytest.raises(SignatureError, match="does not hold"):
        verify(media, "png", roots or AUTHORITY.root)


def test_a_signature_that_names_another_source_does_not_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capture = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    with monkeypatch.context() as other:
        other.setattr(signatures, "TRAINED_ALGORITHMIC_MEDIA", capture)
        signed = sign(PNG, "png", CREDENTIALS, MODEL)

    with pytest.raises(SignatureError, match="does not say that a trained model made"):
        verify(signed, "png", AUTHORITY.root)


def test_no_second_picture_is_put_in() -> None:
    assert b"thumbnail" not in SIGNED


def test_what_has_no_label_is_not_signed() -> None:
    with pytest.raises(Unlabelled):
        sign(encode(PIXELS), "png", CREDENTIALS, MODEL)


@pytest.mark.parametrize("suffix", ["md", "gif"])
def test_what_has_no_place_for_a_signature_is_named(suffix: str) -> None:
    with pytest.raises(SignatureError, match=rf"\.{suffix} file has no place"):
        sign(PNG, suffix, CREDENTIALS, MODEL)
    with pytest.raises(SignatureError, match=rf"\.{suffix} file has no place"):
        verify(SIGNED, suffix, AUTHORITY.root)


STRANGE = ec.generate_private_key(ec.SECP256K1()).private_bytes(PEM, PKCS8, PLAIN)
LOCKED = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    PEM, PKCS8, serialization.BestAvailableEncryption(b"secret")
)
OTHER = ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, PLAIN)


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials(CREDENTIALS.certificates, b"no key"), "cannot be read"),
        (Credentials(CREDENTIALS.certificates, LOCKED), "cannot be read"),
        (Credentials(CREDENTIALS.certificates, STRANGE), "no algorithm"),
        (Credentials(CREDENTIALS.certificates, OTHER), "cannot be signed"),
        (Credentials(b"no certificate", CREDENTIALS.key), "cannot be signed"),
        (Credentials(AUTHORITY.root, CREDENTIALS.key), "cannot be signed"),
    ],
)
def test_credentials_that_sign_nothing_are_named(credentials: Credentials, words: str) -> None:
    with pytest.raises(SignatureError, match=words):
        sign(PNG, "png", credentials, MODEL)


def test_no_key_is_printed() -> None:
    assert "PRIVATE KEY" not in repr(CREDENTIALS)


def test_without_the_extra_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)

    for act in (
        lambda: sign(PNG, "png", CREDENTIALS, MODEL),
        lambda: verify(SIGNED, "png", AUTHORITY.root),
    ):
        with pytest.raises(SignatureError, match=r"pip install 'aigc-factory\[credentials\]'"):
            act()
