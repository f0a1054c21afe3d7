"""Resources → text on stdout, in the formats of ``--format``.

    parse_format("value(jobId, state)") ─▶ Format ─▶ render(format, resources) ─▶ text

Pure: text in, text out. What users and their programs wrote is shown with control characters
escaped (`escape`), so a log line cannot steer the terminal of whoever reads it.
"""

from __future__ import annotations

from mlengine.cli.output.escape import printable
from mlengine.cli.output.projection import Column, Format, FormatError, parse_format, parse_sort
from mlengine.cli.output.render import Stream, render

__all__ = [
    "Column",
    "Format",
    "FormatError",
    "Stream",
    "parse_format",
    "parse_sort",
    "printable",
    "render",
]
