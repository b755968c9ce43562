"""XMP packets: the label, and IPTC's word for what a trained model made, as properties."""

from __future__ import annotations

from xml.parsers import expat
from xml.sax.saxutils import escape

from aigc.errors import LabelForeign, LabelMalformed, Unlabelled
from aigc.generation.labels.label import AIGC, Label

TC260 = "http://www.tc260.org.cn/ns/AIGC/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
TRAINED_ALGORITHMIC_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's digital source type of what a trained model made."""

SOURCE_TYPE = "DigitalSourceType"
LABEL_PROPERTY, SOURCE_PROPERTY = f"{TC260} {AIGC}", f"{IPTC} {SOURCE_TYPE}"

_BEFORE = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description rdf:about="" xmlns:TC260="{TC260}" xmlns:Iptc4xmpExt="{IPTC}">'
    f"<Iptc4xmpExt:{SOURCE_TYPE}>{TRAINED_ALGORITHMIC_MEDIA}</Iptc4xmpExt:{SOURCE_TYPE}>"
    f"<TC260:{AIGC}>"
).encode()
_AFTER = f'</TC260:{AIGC}></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'.encode()


def packet(label: Label) -> bytes:
    """The XMP packet of a label, UTF-8."""
    return _BEFORE + escape(label.as_json()).encode() + _AFTER


def label_of(content: bytes) -> Label:
    """The label in an XMP packet, which must give IPTC's source type too.

    Raises Unlabelled, LabelForeign, LabelMalformed.
    """
    if content.startswith(_BEFORE) and content.endswith(_AFTER):
        # Our own template around nothing that XML has another word for. The parser would say the
        # same, and take two thirds of the time that a picture's label is read in.
        text = content[len(_BEFORE) : -len(_AFTER)]
        if not any(special in text for special in (b"<", b">", b"&")):
            return Label.from_json(text)
    return parsed_label(content)


def parsed_label(content: bytes) -> Label:
    """The label in an XMP packet of anyone, by an XML parser. Raises what `label_of` raises."""
    found = _Properties(content).values
    labels = [value for name, value in found if name == LABEL_PROPERTY]
    others = [name for name, _ in found if name.endswith(f" {AIGC}") and name != LABEL_PROPERTY]
    if others and not labels:
        raise LabelForeign(
            f"the label is of {others[0].split(' ')[0]}, not of {TC260}",
            "Write the label anew from the record",
        )
    if not labels:
        raise Unlabelled(f"the XMP packet has no property {AIGC} of {TC260}", "Write the label")
    sources = {value for name, value in found if name == SOURCE_PROPERTY}
    if len(labels) > 1 or sources != {TRAINED_ALGORITHMIC_MEDIA}:
        raise LabelMalformed(
            f"the XMP packet has {len(labels)} labels and the source types {sorted(sources)}; it "
            f"must have one label and the type {TRAINED_ALGORITHMIC_MEDIA}",
            "Write the label anew from the record",
        )
    return Label.from_json(labels[0])


class _Properties:
    """The properties of a packet that say where content comes from, as (namespace name, value).

    A property may be an element or, as other writers have it, an attribute. Raises LabelMalformed.
    """

    def __init__(self, content: bytes) -> None:
        self.values: list[tuple[str, str]] = []
        self._open: str | None = None
        self._pieces: list[str] = []
        # Without a mark of byte order it is UTF-8, whatever the packet itself declares.
        parser = expat.ParserCreate("UTF-8", " ")
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.CharacterDataHandler = self._characters
        parser.EndElementHandler = self._end
        try:
            parser.Parse(content, True)
        except expat.ExpatError as error:
            raise LabelMalformed(
                f"the XMP packet is no XML: {error}", "Write the label anew from the record"
            ) from error

    def _refuse(self, *_: object) -> None:
        # Without a document type there are no entities to expand or to fetch.
        raise LabelMalformed(
            "the XMP packet declares a document type, which XMP knows none of",
            "Do not trust the file: write the label anew from the record",
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.values += [each for each in attributes.items() if _is_wanted(each[0])]
        if _is_wanted(name):
            self._open, self._pieces = name, []

    def _characters(self, text: str) -> None:
        if self._open:
            self._pieces.append(text)

    def _end(self, name: str) -> None:
        if name == self._open:
            self.values.append((name, "".join(self._pieces)))
            self._open = None


def _is_wanted(name: str) -> bool:
    return name.endswith((f" {AIGC}", f" {SOURCE_TYPE}"))
