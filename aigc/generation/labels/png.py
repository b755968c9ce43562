"""PNG: the label in an XMP packet, in a chunk iTXt before the pixels."""

from __future__ import annotations

from collections.abc import Iterator

from aigc.errors import LabelMalformed, Unlabelled
from aigc.generation.byte_rows import Rows, shared
from aigc.generation.labels import xmp
from aigc.generation.labels.contract import Carrier
from aigc.generation.labels.label import Label
from aigc.generation.png_files import AFTER_HEADER, TEXT, chunks, laid_out, with_chunk

KEYWORD = b"XML:com.adobe.xmp\0"
# Not compressed, no language, no translated keyword: what XMP part 3 asks of the chunk.
UNCOMPRESSED = b"\0\0\0\0"


class PngCarrier(Carrier):
    """PNG."""

    def expressed(self, label: Label) -> bytes:
        """An XMP packet."""
        return xmp.packet(label)

    def put(self, media: Rows, expressed: Rows) -> Rows:
        """The pictures with the packets; no pixel, and no other chunk, is touched.

        Raises LabelMalformed when they are no PNG files, or have an XMP packet already. Whether
        their chunks are sound, `found` sees.
        """
        if _packets((kind, body[:, 4:]) for _, kind, body in laid_out(media)):
            raise LabelMalformed(
                "the PNG file has an XMP packet already", "Label the picture as it was made"
            )
        before, after = media[:, :AFTER_HEADER], media[:, AFTER_HEADER:]
        return with_chunk(before, TEXT, [KEYWORD + UNCOMPRESSED, expressed], after)

    def found(self, media: Rows) -> Rows:
        """The XMP packets of sound pictures. Raises Unlabelled, LabelMalformed."""
        packets = _packets(chunks(media))
        if not packets:
            raise Unlabelled("the PNG file has no XMP packet", "Write the label")
        flags = packets[0][:, : len(UNCOMPRESSED)].tobytes()
        if len(packets) > 1 or flags != UNCOMPRESSED * len(media):
            raise LabelMalformed(
                "the PNG file has several XMP packets, or one that is compressed",
                "Write the label anew from the record",
            )
        return packets[0][:, len(UNCOMPRESSED) :]

    def understood(self, expressed: bytes) -> Label:
        """The label in the packet. Raises Unlabelled, LabelForeign, LabelMalformed."""
        return xmp.label_of(expressed)


def _packets(found: Iterator[tuple[bytes, Rows]]) -> list[Rows]:
    """What stands behind the keyword of XMP, in each of the chunks that were `found` which has it.

    Raises LabelMalformed.
    """
    try:
        texts_of_each = [texts for kind, texts in found if kind == TEXT]
        return [
            texts[:, len(KEYWORD) :]
            for texts in texts_of_each
            if shared(texts[:, : len(KEYWORD)]) == KEYWORD
        ]
    except ValueError as error:
        raise LabelMalformed(
            f"the file is no sound PNG: {error}", "Make the media file anew from the record"
        ) from error
