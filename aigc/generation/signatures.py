"""Content credentials: a media file signed as C2PA says, offline, with the user's certificate.

Signing comes last, for the signature covers the whole file, its label too. It draws names and
numbers at random: of a file that is signed again the bytes are others.

Needs the extra `credentials`, and never the network: no time stamp, no look-up of what is revoked.
"""

from __future__ import annotations

import importlib
import io
import stat
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Self

from aigc.errors import LabelError, SignatureError, first_line
from aigc.generation.labels import CARRIERS
from aigc.generation.labels.label import Label
from aigc.generation.labels.xmp import TRAINED_ALGORITHMIC_MEDIA
from aigc.generation.plan import ModelReference

SIGNABLE = {"png": "image/png"}
"""What can be signed, by the suffix of its name. C2PA has no place for it in text and Markdown."""

BEGIN = b"-----BEGIN CERTIFICATE-----"
CREATED, ACTIONS = "c2pa.created", "c2pa.actions.v2"
OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": True}


@dataclass(frozen=True)
class Credentials:
    """PEM: the certificates, the signer's first and the root last, and the signer's private key."""

    certificates: bytes
    key: bytes = field(repr=False)

    @classmethod
    def read(cls, certificates: Path, key: Path) -> Self:
        """From two files, of which only its owner may read the one of the key.

        Raises SignatureError.
        """
        secret = _content(key, "private key for signing")
        if stat.S_IMODE(key.stat().st_mode) & 0o077:
            raise SignatureError(
                f"the private key in {key} can be read by other users of this machine",
                f"chmod 600 {key}",
            )
        return cls(_content(certificates, "certificates for signing"), secret)

    @property
    def root(self) -> bytes:
        """The certificate that the signer's leads to."""
        return BEGIN + self.certificates.rpartition(BEGIN)[2]


@dataclass(frozen=True)
class Signature:
    """Who has signed a file, by the certificate, and NAME@VERSION of the model that made it."""

    signer: str
    model: str


def _content(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SignatureError(
            f"the {what} in {file} cannot be read: {error.strerror or error}",
            "Name another file in publish.signature, or let this user read it",
        ) from error


def sign(media: bytes, suffix: str, credentials: Credentials, model: ModelReference) -> bytes:
    """The labelled file with a signature that says that a trained model made it, and which.

    Raises SignatureError, and LabelError when it carries no label before or after.
    """
    c2pa, media_type = _library(), _media_type(suffix)
    label = CARRIERS[suffix].read(media)
    signed, manifest = io.BytesIO(), _manifest(label, model)
    context = _context(c2pa, {"builder": {"thumbnail": {"enabled": False}}})
    try:
        with _signer(c2pa, credentials) as signer, c2pa.Builder(manifest, context) as builder:
            builder.sign(signer, media_type, io.BytesIO(media), signed)
    except c2pa.C2paError as error:
        raise SignatureError(
            f"{label.produce_id} cannot be signed: {first_line(error)}",
            "Check that the certificates are for signing, the root last, and the key is theirs",
        ) from error
    if CARRIERS[suffix].read(signed.getvalue()) != label:
        raise LabelError(
            f"signing has changed the label of {label.produce_id}",
            "This is a mistake of the program: publish the file without a signature",
        )
    return signed.getvalue()


def verify(media: bytes, suffix: str, roots: bytes) -> Signature:
    """Who has signed a file, if the signature holds and leads to one of `roots`, PEM.

    Raises SignatureError, also when the signature says other than that a trained model made it.
    """
    c2pa = _library()
    try:
        context = _context(c2pa, {"trust": {"trust_anchors": roots.decode()}})
        with c2pa.Reader(_media_type(suffix), io.BytesIO(media), context=context) as reader:
            state, results = reader.get_validation_state(), reader.get_validation_results()
            claim = reader.get_active_manifest()
    except (c2pa.C2paError, UnicodeDecodeError) as error:
        raise _untrusted(first_line(error)) from error
    if state != "Trusted":
        failures = (results or {}).get("activeManifest", {}).get("failure", [])
        raise _untrusted(
            "; ".join(each.get("explanation", each["code"]) for each in failures) or str(state)
        )
    created = [action for action in _actions(claim) if action.get("action") == CREATED]
    if [each.get("digitalSourceType") for each in created] != [TRAINED_ALGORITHMIC_MEDIA]:
        raise _untrusted("it does not say that a trained model made the file")
    agent = created[0].get("softwareAgent", {})
    signer = claim["signature_info"].get("common_name", "")
    return Signature(signer, f"{agent.get('name')}@{agent.get('version')}")


def _manifest(label: Label, model: ModelReference) -> dict[str, Any]:
    """What is signed, beside the file: that a trained model made it, and which."""
    created = {
        "action": CREATED,
        "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA,
        "softwareAgent": {"name": model.name, "version": str(model.version)},
    }
    return {
        "claim_generator_info": [{"name": "aigc-factory"}],
        "title": label.produce_id,
        "assertions": [{"label": ACTIONS, "data": {"actions": [created]}}],
    }


def _actions(claim: dict[str, Any]) -> list[dict[str, Any]]:
    found = [each for each in claim.get("assertions", []) if each["label"] == ACTIONS]
    return [action for each in found for action in each["data"]["actions"]]


def _media_type(suffix: str) -> str:
    if suffix not in SIGNABLE:
        raise SignatureError(
            f"a .{suffix} file has no place for a signature",
            f"What can be signed: {', '.join(SIGNABLE)}",
        )
    return SIGNABLE[suffix]


def _context(c2pa: ModuleType, settings: dict[str, Any]) -> Any:
    return c2pa.Context(c2pa.Settings.from_dict({"verify": OFFLINE} | settings))


def _signer(c2pa: ModuleType, credentials: Credentials) -> Any:
    """The library's signer. Raises SignatureError when the key is none it can use."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    advice = "Give an unencrypted PEM key: elliptic curve P-256 or P-384, Ed25519, or RSA"
    try:
        key = serialization.load_pem_private_key(credentials.key, password=None)
    except (ValueError, TypeError) as error:
        # Its message may quote what it was given.
        raise SignatureError("the private key for signing cannot be read", advice) from error
    match key:
        case ec.EllipticCurvePrivateKey(curve=curve):
            algorithm = {"secp256r1": "es256", "secp384r1": "es384"}.get(curve.name)
        case ed25519.Ed25519PrivateKey():
            algorithm = "ed25519"
        case rsa.RSAPrivateKey():
            algorithm = "ps256"
        case _:
            algorithm = None
    if algorithm is None:
        raise SignatureError("no algorithm of C2PA signs with the private key", advice)
    # The one form that the library takes.
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # None, where the address of a clock that others trust would stand: it would have to be asked.
    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(algorithm, credentials.certificates, pem, None)
    )


def _library() -> ModuleType:
    try:
        return importlib.import_module("c2pa")
    except ImportError as error:
        raise SignatureError(
            "media files cannot be signed, for c2pa-python is not installed",
            "Install it with pip install 'aigc-factory[credentials]'",
        ) from error


def _untrusted(what: str) -> SignatureError:
    return SignatureError(
        f"the file's signature does not hold: {what}",
        "Do not trust the file, or give the root certificate that its signer's leads to",
    )
