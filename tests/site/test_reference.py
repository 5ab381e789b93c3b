"""Every public name has its page in the reference, under the name by which it is imported."""

import re
from pathlib import Path
from typing import get_args

import codegen_async
from codegen_async import errors, events, otel, testing, web
from tests.site.conftest import ROOT
from tests.site.pages import read

REFERENCE = ROOT / "docs" / "reference"
ERRORS = [
    name for name in codegen_async.__all__ if getattr(vars(errors).get(name), "__module__", "") == errors.__name__
]
# What `engine`, `events` and `middesk` have for users beside the names at the top; `hosted` and `fleet` have none.
PUBLIC = [
    *(f"codegen_async.{name}" for name in codegen_async.__all__ if name not in {*ERRORS, "__version__"}),
    *(
        f"codegen_async.{module.__name__.split('.')[1]}.{name}"
        for module in (otel, testing, web)
        for name in module.__all__
    ),
    *(f"codegen_async.events.{kind.__name__}" for kind in get_args(events.Event)),
    "codegen_async.events.Event",
    "codegen_async.events.Observer",
    "codegen_async.engine.batch.DBOSBatch",
    "codegen_async.middesk.webhooks",
    "codegen_async.testing.plugin",
]
DRAWN = {
    name: path.relative_to(ROOT / "docs").as_posix()
    for path in sorted(REFERENCE.glob("*/*.md"))
    if path.parent.name != "errors"  # whose overview says more of each than its name
    for name in re.findall(r"^::: (\S+)$", path.read_text(), re.MULTILINE)
}


def test_every_public_name_has_a_page_that_is_called_as_it_is() -> None:
    assert sorted({*PUBLIC} - {*DRAWN}) == []
    assert [name for name, page in DRAWN.items() if Path(page).stem != name.rsplit(".", 1)[1] != "Problem"] == []


def test_every_page_of_a_name_is_in_the_navigation_and_in_its_overview() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for name, page in DRAWN.items():
        module, last = name.rsplit(".", 1)
        overview = (REFERENCE / f"{Path(page).parent.name}.md").read_text()
        glances = re.findall(
            rf"^::: {re.escape(module)}\n    options:\n      extra: .*\[(.*)\]", overview, re.MULTILINE
        )
        assert last in ", ".join(glances).split(", "), name
        assert f"          - {Path(page).stem}: {page}\n" in navigation, name


def test_every_page_begins_with_its_name_and_an_index_of_its_methods(site: Path) -> None:
    for name, page in DRAWN.items():
        html = (site / page.replace(".md", "/index.html")).read_text()
        article = html[html.index("<article") :]
        assert name in read(article).ids
        assert re.search(rf"<span class=\"doc doc-object-name [^>]*>{re.escape(name)}</span>", article), name
        methods = re.findall(r"<h2 id=\"([^\"]+)\" class=\"doc doc-heading\">\s*<code class=\"[^\"]*method", article)
        index = article[: article.index("<h2")] if methods else ""
        assert [method for method in methods if f'#{method}"' not in index] == []


def test_methods_show_the_types_of_what_they_take_and_return(site: Path) -> None:
    html = (site / "reference/codegen/CodegenClient/index.html").read_text()
    article = re.sub(r"<[^>]+>", "", html[html.index("<article") :])
    assert re.search(r"get_run\(\s*run_id: int,[^)]*\) -&gt; AgentRun\n", article)


def test_every_error_is_described(site: Path) -> None:
    ids = read((site / "reference/errors/errors/index.html").read_text()).ids
    assert [name for name in ERRORS if f"codegen_async.errors.{name}" not in ids] == []


def test_the_site_tells_its_version_and_leads_to_the_repository_and_what_changed(site: Path) -> None:
    html = (site / "index.html").read_text()
    assert f">{codegen_async.__version__}<" in html
    assert 'href="https://github.com/codegen-async/codegen-async"' in html
    assert 'href="./project/changelog/"' in html
