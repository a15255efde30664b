"""The child process that fills a Word template: a user's template is somebody's program, and runs with limits.

Argument: the limit of processor time in seconds. Standard input: eight bytes (big-endian length of the context), the
context as JSON, the template. Standard output: the document. Standard error: one line saying why not; exit status 1.

The template sees plain values only, in a sandboxed and immutable Jinja environment; it cannot import, include, read
attributes that begin with an underscore, or turn the escaping of values off. Before anything is parsed the archive is
checked for size, macros, document type declarations, and parts that a reader would load from elsewhere.
"""

from __future__ import annotations

import io
import json
import re
import resource
import sys
import zipfile
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from govsec.report.catalog import plain

#: A table of 300 rows needs 120 MB here; a bomb ends instead of the machine.
MEMORY_BYTES = 1 << 30
OUTPUT_BYTES_MAX = 64 << 20
_UNPACKED_BYTES_MAX = 96 << 20
_PARTS_MAX = 2_000
_LENGTH_BYTES = 8
#: What a reader of the document would fetch: remote templates, pictures, embedded objects. A link is only followed by
#: a person, so it may stay.
_EXTERNAL = re.compile(rb"<Relationship\b[^>]*TargetMode\s*=\s*[\"']External[\"'][^>]*>")
_HYPERLINK = b"/relationships/hyperlink"
_FORBIDDEN: tuple[type[nodes.Node], ...] = (
    nodes.EvalContextModifier,
    nodes.ScopedEvalContextModifier,
    nodes.Extends,
    nodes.FromImport,
    nodes.Import,
    nodes.Include,
)


_FOREIGN = (SyntaxError, KeyError, ValueError, TypeError, AttributeError, ArithmeticError, IndexError)


class RefusedTemplateError(Exception):
    """The template is none, or may not be filled; the text says why."""


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox in which values stay text whatever the template says."""

    def __init__(self) -> None:
        super().__init__(
            autoescape=True,
            undefined=StrictUndefined,
            finalize=lambda value: plain(value) if isinstance(value, str) else value,
        )
        del self.filters["safe"]

    def from_string(self, source: Any, *arguments: Any, **named: Any) -> Any:
        tree = self.parse(source)
        if any(tree.find(kind) is not None for kind in _FORBIDDEN):
            raise SecurityError("autoescape, include, import and extends are not for templates of reports")
        return super().from_string(source, *arguments, **named)


def fill(template: bytes, context: dict[str, Any]) -> bytes:
    """The document that ``template`` makes of ``context``.

    Raises:
        RefusedTemplateError: it is no Word document, too large, holds what may not be in it, or its expressions fail.
    """
    refuse_unsafe(template)
    from docx.exceptions import PythonDocxError
    from docx.opc.exceptions import OpcError
    from docxtpl import DocxTemplate

    out = io.BytesIO()
    try:
        document = DocxTemplate(io.BytesIO(template))
        document.render(context, jinja_env=_Environment(), autoescape=True)
        document.save(out)
    except SecurityError as error:
        raise RefusedTemplateError(f"not allowed: {error}") from error
    except TemplateError as error:
        raise RefusedTemplateError(f"{type(error).__name__}: {error.message}") from error
    # What a template's expressions and its XML can raise; lxml's errors of syntax are Python's.
    except (*_FOREIGN, PythonDocxError, OpcError) as error:
        raise RefusedTemplateError(f"{type(error).__name__}: {error}") from error
    except RecursionError as error:
        raise RefusedTemplateError("nested too deeply") from error
    if out.tell() > OUTPUT_BYTES_MAX:
        raise RefusedTemplateError(f"the document would be larger than {OUTPUT_BYTES_MAX} bytes")
    return out.getvalue()


def refuse_unsafe(template: bytes) -> None:
    """Look at the archive before anything in it is parsed.

    Raises:
        RefusedTemplateError: it is no such archive, too large, has macros, a document type, or parts from elsewhere.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(template)) as archive:
            parts = archive.infolist()
            if len(parts) > _PARTS_MAX or sum(part.file_size for part in parts) > _UNPACKED_BYTES_MAX:
                raise RefusedTemplateError("more or larger parts than a template needs")
            if "word/document.xml" not in archive.namelist():
                raise RefusedTemplateError("not a Word document (.docx)")
            for part in parts:
                _refuse_part(part.filename, archive.read(part) if part.filename.endswith((".xml", ".rels")) else b"")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise RefusedTemplateError(f"not a Word document: {error}") from error


def _refuse_part(name: str, data: bytes) -> None:
    if name.lower().endswith(("vbaproject.bin", ".exe", ".dll")) or b"macroEnabled" in data:
        raise RefusedTemplateError(f"holds macros: {name}")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise RefusedTemplateError(f"holds a document type or an unusual encoding: {name}")
    if name.endswith(".rels"):
        for relation in _EXTERNAL.findall(data):
            if _HYPERLINK not in relation:
                raise RefusedTemplateError(f"would load something from elsewhere: {name}")


def main(cpu_s: int) -> int:
    """Fill the template on standard input within ``cpu_s`` seconds of processor time; the exit status."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    data = sys.stdin.buffer.read()
    size = int.from_bytes(data[:_LENGTH_BYTES], "big")
    context = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + size])
    try:
        document = fill(data[_LENGTH_BYTES + size :], context)
    except RefusedTemplateError as error:
        sys.stderr.write(" ".join(plain(str(error)).split())[:400])
        return 1
    except MemoryError:
        sys.stderr.write(f"needs more than {MEMORY_BYTES} bytes of memory")
        return 1
    sys.stdout.buffer.write(document)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
