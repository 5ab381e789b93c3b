"""Write all pages that are generated, for the tests to find them fresh: `python -m docs.generate`."""

import sys

from codegen_async.cli.pages import FILE
from codegen_async.cli.write_pages import render
from docs.generate.pages import ROOT, pages

for path, text in {FILE: render(), **pages()}.items():
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
        sys.stdout.write(f"written: {path.relative_to(ROOT)}\n")
