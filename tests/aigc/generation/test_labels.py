"""What is written as a label is read as that label, by us and by others, and nothing else is."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from aigc.errors import LabelError, LabelForeign, LabelMalformed, Unlabelled
from aigc.generation.byte_rows import rows_of
from aigc.generation.labels import CARRIERS, xmp
from aigc.generation.labels.contract import expressions
from aigc.generation.labels.label import Label
from aigc.generation.labels.png import KEYWORD, UNCOMPRESSED
from aigc.generation.png_files import AFTER_HEADER, chunk, chunks, encode
from aigc.modalities.image_files import read_image

KEYS = [
    "Label",
    "ContentProducer",
    "ProduceID",
    "ReservedCode1",
    "ContentPropagator",
    "PropagateID",
    "ReservedCode2",
]
LABEL = Label.of_dataset("Exämple & Co", "digits-nightly@f750d6018c20").of_sample(17)
PIXELS = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
MEDIA = {"png": encode(PIXELS), "md": b"# A title\n\n---\nand \xff text\n", "txt": b""}
LABELLED = {suffix: CARRIERS[suffix].write(media, LABEL) for suffix, media in MEDIA.items()}

ALIKE = st.integers(1, 13).flatmap(
    lambda digits: st.lists(
        st.integers(10 ** (digits - 1) if digits > 1 else 0, 10**digits - 1), min_size=1, max_size=5
    )
)
"""Ids of equally many digits."""

NEVER = "\ufffe\uffff"
AWKWARD = [
    "]]>",
    "<![CDATA[",
    '"',
    "'",
    "&amp;",
    "\\",
    "\\u0000",
    "\ufeff",
    "😀",
    "人工智能",
    "---",
]
TEXTS = st.one_of(
    st.text(
        st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters=NEVER),
        max_size=60,
    ),
    st.lists(st.sampled_from(AWKWARD)).map("".join),
    st.sampled_from([" leading and trailing ", "x" * 4096, "😀" * 4096, ": ", "key: value", "- #"]),
)
LABELS = st.fixed_dictionaries(
    {"Label": st.sampled_from(["1", "2", "3"])} | dict.fromkeys(KEYS[1:], TEXTS)
).map(Label.model_validate)


SPECIAL = ["]]>", ">", "<!-- -->", "&#65;", "&lt;", "\r\n", "\x01", "\ufffe", "\\u0001", "\\u0041"]
PLAIN = Label.of_dataset("Example Ltd", "digits@1")


def outcome(read: Callable[[bytes], Label], content: bytes) -> Label | type[LabelError]:
    try:
        return read(content)
    except LabelError as error:
        return type(error)


def png_with(*packets: bytes) -> bytes:
    texts = b"".join(chunk(b"iTXt", KEYWORD + UNCOMPRESSED + packet) for packet in packets)
    return MEDIA["png"][:AFTER_HEADER] + texts + MEDIA["png"][AFTER_HEADER:]


def test_a_label_is_the_seven_strings_of_the_standard() -> None:
    fields = json.loads(LABEL.as_json())

    assert list(fields) == KEYS
    assert {type(value) for value in fields.values()} == {str}
    assert fields["Label"] == "1"
    assert fields["ProduceID"] == "digits-nightly@f750d6018c20/17"


@pytest.mark.parametrize(
    "text", ["\0", "a\nb", "\t", "\x7f", "\x85", "\u2028", "\ufffe", "x" * 4097]
)
def test_what_not_every_format_can_hold_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Label.of_dataset(text, "digits@1")


def without(key: str) -> dict[str, str]:
    fields: dict[str, str] = json.loads(LABEL.as_json())
    del fields[key]
    return fields


@pytest.mark.parametrize(
    "fields",
    [
        *map(without, KEYS),
        without("Label") | {"Label": "4"},
        without("Label") | {"Label": 1},
        without("Label") | {"label": "1"},
        without("ProduceID") | {"ProduceID": None},
        without("ProduceID") | {"ProduceID": "a\n"},
        json.loads(LABEL.as_json()) | {"More": ""},
        {"AIGC": json.loads(LABEL.as_json())},
        [],
    ],
)
def test_an_object_that_is_no_label_is_malformed(fields: object) -> None:
    with pytest.raises(LabelMalformed, match="GB 45438-2025"):
        Label.from_json(json.dumps(fields))


@pytest.mark.parametrize("suffix", CARRIERS)
@given(label=LABELS)
def test_every_label_is_read_back(suffix: str, label: Label) -> None:
    carrier = CARRIERS[suffix]

    assert carrier.read(carrier.write(MEDIA[suffix], label)) == label


@pytest.mark.parametrize("suffix", CARRIERS)
def test_media_without_a_label_say_so(suffix: str) -> None:
    with pytest.raises(Unlabelled):
        CARRIERS[suffix].read(MEDIA[suffix])


@pytest.mark.parametrize("suffix", CARRIERS)
def test_a_label_is_the_same_bytes_every_time(suffix: str) -> None:
    assert CARRIERS[suffix].write(MEDIA[suffix], LABEL) == LABELLED[suffix]


@pytest.mark.parametrize("suffix", CARRIERS)
@given(data=st.data())
def test_whatever_becomes_of_a_file_its_reading_ends_in_a_label_or_our_error(
    suffix: str, data: st.DataObject
) -> None:
    media = LABELLED[suffix]
    start = data.draw(st.integers(0, len(media)))
    stop = data.draw(st.integers(start, min(len(media), start + 80)))
    mutated = media[:start] + data.draw(st.binary(max_size=80)) + media[stop:]

    try:
        found = CARRIERS[suffix].read(mutated)
    except LabelError:
        return
    assert isinstance(found, Label)


@given(place=st.integers(0, len(LABELLED["png"]) - 1), change=st.integers(1, 255))
def test_no_changed_byte_of_a_png_file_goes_unseen(place: int, change: int) -> None:
    broken = bytearray(LABELLED["png"])
    broken[place] ^= change

    with pytest.raises(LabelMalformed, match="no sound PNG"):
        CARRIERS["png"].read(bytes(broken))


@given(st.binary(max_size=200))
def test_no_packet_is_read_but_as_a_label_or_our_error(packet: bytes) -> None:
    with pytest.raises(LabelError):
        CARRIERS["png"].read(png_with(packet))


@given(data=st.data())
def test_a_mutated_packet_with_right_checksums_is_a_label_or_our_error(data: st.DataObject) -> None:
    packet = xmp.packet(LABEL)
    start = data.draw(st.integers(0, len(packet)))
    stop = data.draw(st.integers(start, min(len(packet), start + 40)))
    mutated = packet[:start] + data.draw(st.binary(max_size=40)) + packet[stop:]

    try:
        found = CARRIERS["png"].read(png_with(mutated))
    except LabelError:
        return
    assert isinstance(found, Label)


@given(label=LABELS)
def test_the_parser_reads_every_packet_as_the_short_cut_does(label: Label) -> None:
    assert xmp.parsed_label(xmp.packet(label)) == xmp.label_of(xmp.packet(label)) == label


@pytest.mark.parametrize("place", ["Example", "ProduceID", ","])
@pytest.mark.parametrize("text", SPECIAL)
def test_the_short_cut_reads_nothing_that_the_parser_reads_otherwise(text: str, place: str) -> None:
    content = xmp.packet(PLAIN).replace(place.encode(), place.encode() + text.encode(), 1)

    assert outcome(xmp.label_of, content) == outcome(xmp.parsed_label, content)


@given(data=st.data())
def test_short_cut_and_parser_agree_on_every_mutation(data: st.DataObject) -> None:
    content = xmp.packet(PLAIN)
    start = data.draw(st.integers(content.index(b"{"), content.index(b"}")))
    text = data.draw(st.one_of(st.text().map(str.encode), st.binary(max_size=3)))
    content = content[:start] + text + content[start:]

    assert outcome(xmp.label_of, content) == outcome(xmp.parsed_label, content)


def test_no_pixel_is_touched() -> None:
    assert np.array_equal(read_image(LABELLED["png"]), PIXELS)


def test_no_byte_of_a_text_is_touched() -> None:
    assert LABELLED["md"].endswith(b"---\n" + MEDIA["md"])
    assert LABELLED["txt"].count(b"---\n") == 2


@given(label=LABELS)
def test_pillow_finds_the_same_xmp_packet(label: Label) -> None:
    content = CARRIERS["png"].write(MEDIA["png"], label)

    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        assert opened.text["XML:com.adobe.xmp"].encode() == xmp.packet(label)


@given(label=LABELS)
def test_front_matter_is_yaml_to_others(label: Label) -> None:
    text = CARRIERS["md"].write(b"Once upon a time", label).decode()
    _, front_matter, body = text.split("---\n", 2)

    assert yaml.safe_load(front_matter) == {"AIGC": json.loads(label.as_json())}
    assert body == "Once upon a time"


def test_the_packet_says_what_the_law_of_the_union_asks_for() -> None:
    assert (
        b">http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia<"
        in LABELLED["png"]
    )


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool is not installed")
def test_exiftool_finds_both(tmp_path: Path) -> None:
    path = tmp_path / "17.png"
    path.write_bytes(LABELLED["png"])
    command = ["exiftool", "-json", "-n", "-G1", "-XMP:all", "-validate", str(path)]
    printed = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)[0]
    # Older versions know no TC260 and write its property as Aigc.
    found = {name.lower(): value for name, value in printed.items()}

    assert json.loads(found["xmp-tc260:aigc"]) == json.loads(LABEL.as_json())
    assert found["xmp-iptcext:digitalsourcetype"] == xmp.TRAINED_ALGORITHMIC_MEDIA
    assert found["exiftool:validate"] == "0 0 0"


def test_a_png_file_is_labelled_once() -> None:
    with pytest.raises(LabelMalformed, match="already"):
        CARRIERS["png"].write(LABELLED["png"], LABEL)


def test_one_labelled_file_among_others_is_not_labelled_again() -> None:
    packet = next(text for kind, text in chunks(rows_of([LABELLED["png"]])) if kind == b"iTXt")
    comment = chunk(b"iTXt", b"Comment\0".ljust(packet.shape[1], b"."))
    other = MEDIA["png"][:AFTER_HEADER] + comment + MEDIA["png"][AFTER_HEADER:]

    for files in ([other, LABELLED["png"]], [LABELLED["png"], other]):
        with pytest.raises(LabelMalformed):
            CARRIERS["png"].put(rows_of(files), rows_of([xmp.packet(LABEL)] * 2))


def test_one_compressed_packet_among_others_is_refused() -> None:
    packet = xmp.packet(LABEL)
    compressed = chunk(b"iTXt", KEYWORD + b"\1\0\0\0" + packet)
    broken = MEDIA["png"][:AFTER_HEADER] + compressed + MEDIA["png"][AFTER_HEADER:]

    with pytest.raises(LabelMalformed, match="compressed"):
        CARRIERS["png"].found(rows_of([png_with(packet), broken]))


def test_what_is_no_png_file_takes_no_label() -> None:
    with pytest.raises(LabelMalformed, match="no sound PNG"):
        CARRIERS["png"].write(b"GIF89a", LABEL)


def described(properties: str, attributes: str = "") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:i="{xmp.IPTC}" xmlns:t="{xmp.TC260}" {attributes}>'
        f"{properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


SOURCE = f"<i:DigitalSourceType>{xmp.TRAINED_ALGORITHMIC_MEDIA}</i:DigitalSourceType>"
AIGC = f"<t:AIGC>{escape(LABEL.as_json())}</t:AIGC>"


def test_properties_may_be_attributes_and_have_any_prefix() -> None:
    quoted = escape(LABEL.as_json(), {'"': "&quot;"})
    attributes = f't:AIGC="{quoted}" i:DigitalSourceType="{xmp.TRAINED_ALGORITHMIC_MEDIA}"'

    assert CARRIERS["png"].read(png_with(described(SOURCE + AIGC))) == LABEL
    assert CARRIERS["png"].read(png_with(described("", attributes))) == LABEL


@pytest.mark.parametrize(
    ("packet", "kind", "words"),
    [
        (described(SOURCE), Unlabelled, "no property AIGC"),
        (described(SOURCE + AIGC.replace("t:", "i:")), LabelForeign, "iptc.org"),
        (described(AIGC), LabelMalformed, "source types"),
        (described(SOURCE.replace("trained", "un") + AIGC), LabelMalformed, "source types"),
        (described(SOURCE + AIGC + AIGC), LabelMalformed, "2 labels"),
        (described(SOURCE + "<t:AIGC>1</t:AIGC>"), LabelMalformed, "GB 45438-2025"),
        (described(SOURCE + "<t:AIGC>&more;</t:AIGC>"), LabelMalformed, "no XML"),
        (described(SOURCE + AIGC)[:-9], LabelMalformed, "no XML"),
        ("<!DOCTYPE a><a/>".encode("utf-16"), LabelMalformed, "document type"),
        (b"<a>" * 100_000, LabelMalformed, "no XML"),
    ],
)
def test_what_is_wrong_with_a_packet_is_said(packet: bytes, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        CARRIERS["png"].read(png_with(packet))


@pytest.mark.parametrize(
    "declared",
    [
        '<!ENTITY a "x">',
        '<!ENTITY a "xxxxxxxxxx"><!ENTITY b "&a;&a;&a;&a;&a;&a;">',
        '<!ENTITY a SYSTEM "file:///etc/passwd">',
        '<!ENTITY % a SYSTEM "http://127.0.0.1:9/a">%a;',
    ],
)
def test_no_entity_is_expanded_or_fetched(declared: str) -> None:
    body = described(SOURCE + "<t:AIGC>&a;</t:AIGC>").decode()
    packet = f"<!DOCTYPE x:xmpmeta [{declared}]>{body}".encode()

    with pytest.raises(LabelMalformed, match="document type"):
        CARRIERS["png"].read(png_with(packet))


def test_two_packets_and_compressed_ones_are_refused() -> None:
    packet = xmp.packet(LABEL)
    compressed = png_with(packet).replace(KEYWORD + b"\0", KEYWORD + b"\1")
    start = compressed.index(b"iTXt") - 4
    size = int.from_bytes(compressed[start : start + 4])
    again = chunk(b"iTXt", compressed[start + 8 : start + 8 + size])
    rebuilt = compressed[:start] + again + compressed[start + 12 + size :]

    for media in (png_with(packet, packet), rebuilt):
        with pytest.raises(LabelMalformed, match="several XMP packets"):
            CARRIERS["png"].read(media)


HEAD = LABELLED["md"].split(b"\n---\n")[0]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (b"", Unlabelled, "no label"),
        (b"---\n", Unlabelled, "no label"),
        (b"---\ntitle: a\n---\n", Unlabelled, "no label"),
        (HEAD, Unlabelled, "no label"),
        (b"\n" + LABELLED["md"], Unlabelled, "no label"),
        (HEAD.replace(b"AIGC:", b"title: a\nAIGC:") + b"\n---\n", LabelMalformed, "other lines"),
        (HEAD + b"\ntitle: a\n---\n", LabelMalformed, "other lines"),
        (HEAD.replace(b"ReservedCode2", b"More") + b"\n---\n", LabelMalformed, "ReservedCode2"),
        (
            HEAD.replace(b"ReservedCode2", b"ProduceID") + b"\n---\n",
            LabelMalformed,
            "ReservedCode2",
        ),
        (HEAD.replace(b"  ProduceID", b"ProduceID") + b"\n---\n", LabelMalformed, "KEY: VALUE"),
        (HEAD.replace(b'"1"', b"1") + b"\n---\n", LabelMalformed, "Label"),
        (HEAD.replace(b'"1"', b"'1'") + b"\n---\n", LabelMalformed, "cannot be read"),
        (HEAD.replace(b'"1"', b'"\xff"') + b"\n---\n", LabelMalformed, "cannot be read"),
        (HEAD.replace(b'"1"', b"[" * 10**5) + b"\n---\n", LabelMalformed, "cannot be read"),
    ],
)
def test_what_is_wrong_with_front_matter_is_said(text: bytes, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words):
        CARRIERS["md"].read(text)


def test_a_text_that_looks_like_a_label_is_content() -> None:
    other = Label.of_dataset("Another", "letters@1")
    written = CARRIERS["md"].write(CARRIERS["md"].write(b"", other), LABEL)

    assert CARRIERS["md"].read(written) == LABEL


@given(label=LABELS, samples=st.lists(st.integers(0, 10**12), max_size=5))
def test_the_texts_of_many_samples_are_those_of_each(label: Label, samples: list[int]) -> None:
    ids = pa.array(samples, pa.int64())
    assert label.texts(ids).to_pylist() == [label.of_sample(sample).as_json() for sample in samples]


@pytest.mark.parametrize("suffix", CARRIERS)
@given(label=LABELS, samples=ALIKE)
def test_the_expressions_of_many_samples_are_those_of_each(
    suffix: str, label: Label, samples: list[int]
) -> None:
    carrier = CARRIERS[suffix]
    each = [carrier.expressed(label.of_sample(sample)) for sample in samples]
    found = expressions(carrier, label)(np.array(samples, np.int64))
    assert [row.tobytes() for row in found] == each
