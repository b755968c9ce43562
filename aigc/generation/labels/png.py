"""PNG: the label in an XMP packet, in a chunk iTXt before the pixels."""

from __future__ import annotations

from aigc.errors import LabelMalformed, Unlabelled
from aigc.generation.labels import xmp
from aigc.generation.labels.label import Label
from aigc.generation.png_files import AFTER_HEADER, TEXT, chunk, chunks

KEYWORD = b"XML:com.adobe.xmp\0"
# Not compressed, no language, no translated keyword: what XMP part 3 asks of the chunk.
UNCOMPRESSED = b"\0\0\0\0"


class PngCarrier:
    """The contract of `aigc.generation.labels.contract.Carrier` for PNG."""

    def write(self, media: bytes, label: Label) -> bytes:
        """The picture with the label; no pixel, and no other chunk, is touched.

        Raises LabelMalformed when it is no sound PNG file, or has an XMP packet already.
        """
        if _packets(media):
            raise LabelMalformed(
                "the PNG file has an XMP packet already", "Label the picture as it was made"
            )
        text = chunk(TEXT, KEYWORD + UNCOMPRESSED + xmp.packet(label))
        return media[:AFTER_HEADER] + text + media[AFTER_HEADER:]

    def read(self, media: bytes) -> Label:
        """The label of a picture. Raises Unlabelled, LabelForeign, LabelMalformed."""
        packets = _packets(media)
        if not packets:
            raise Unlabelled("the PNG file has no XMP packet", "Write the label")
        if len(packets) > 1 or not packets[0].startswith(UNCOMPRESSED):
            raise LabelMalformed(
                "the PNG file has several XMP packets, or one that is compressed",
                "Write the label anew from the record",
            )
        return xmp.label_of(packets[0][len(UNCOMPRESSED) :])


def _packets(png: bytes) -> list[bytes]:
    """What stands behind the keyword of XMP, in each chunk that has it. Raises LabelMalformed."""
    try:
        found = [content for kind, content in chunks(png) if kind == TEXT]
    except ValueError as error:
        raise LabelMalformed(
            f"the file is no sound PNG: {error}", "Make the media file anew from the record"
        ) from error
    return [text[len(KEYWORD) :] for text in found if text.startswith(KEYWORD)]
