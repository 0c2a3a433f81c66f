"""Lists as pandas frames: files of five formats, anywhere fsspec reaches, and items written in the job.

`reading` chooses the reader, `list_file` opens and decodes, one module a format reads rows, `tables` makes
the frames. Nothing is lost in silence: what cannot be read exactly is an error that names the line, or is
counted.
"""

from clarion.lists.reading import read_frames
from clarion.lists.report import BadRow, ReadReport
from clarion.lists.tables import frame_items

__all__ = ["BadRow", "ReadReport", "frame_items", "read_frames"]
