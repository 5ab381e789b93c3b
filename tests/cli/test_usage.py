"""What is refused before anything is sent."""

from pathlib import Path

import pytest

from codegen_async.cli.app import run
from codegen_async.cli.errors import Exit

MANY = "9" * 5000  # digits: more than Python reads


@pytest.fixture(autouse=True)
def _a_place_without_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.jsonl").write_text('{"prompt": "x"}\n')
    Path("wrong.md").write_text("# Some prose\n")
    Path("bad.jsonl").write_text('{"prompt": "x"}\n{"prompt": ""}\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("CODEGEN_ORG_ID", "323")
    monkeypatch.setenv("CODEGEN_API_BASE_URL", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("run create", "give one prompt", "as an argument, by --file PATH, or - to read"),
        ("run create x --file y", "give one prompt", "as an argument"),
        ("run create --file missing", "missing cannot be read: No such file", ""),
        ("run create --waitt", "unknown option or prompt: --waitt", "--file"),
        ("run create x --waitt", "Unknown option: --waitt", "codegen-async run create --help"),
        ("run create Fix the test", "too many words: the test", "a text with blanks needs quotes; see "),
        ("run create x --metadata [1]", "--metadata: expected a JSON object", ""),
        ("run create x --metadata {", "--metadata: expected JSON, got {", ""),
        ("run create x --agent-type=", "--agent-type: expected a text that is not blank", "nothing was sent"),
        ("run get", "give a run's id, or --key", ""),
        ("run get x", 'Invalid value for RUN_ID: unable to convert "x"', "codegen-async run get --help"),
        ("run get 0", "RUN_ID: expected an integer in 1..", "nothing was sent"),
        ("run create x --timeout 5", "--timeout is how long --wait waits", ""),
        ("run resume 5 x --timeout 5", "--timeout is how long --wait waits", ""),
        ("run logs 5 --latency 1", "--latency is how soon --follow", ""),
        ("run create x --key=", "--key: expected 1..128", ""),
        ("run nope", 'Unknown command "nope"', "codegen-async run --help"),
        ("run list --json --jsonl", "--json and --jsonl exclude one another", ""),
        ("run list --json id web_url", "too many words: web_url", "codegen-async run list --help"),
        ("run create x --json nope", "--json: there is no field 'nope'", "fields are id, "),
        ("run create x --image missing.png", "--image[0]: expected a readable file (No such file", "nothing was sent"),
        ("run list --limit 0", "--limit: expected", "nothing was sent"),
        ("run list --org-id x", "Invalid value for --org-id", ""),
        ("run list --base-url http://example.com", "base_url: expected https", ""),
        ("run list --token x", "Unknown option: --token", ""),
        ("run create x --follow", "--follow shows what happens until the end: it needs --wait", ""),
        ("run create x --wait --follow --json", "--follow shows rows and then the run: one JSON", "--jsonl"),
        ("run list --since yesterday", "--since: expected a time, got 'yesterday'", "such as 90m"),
        ("run list --phase done", "Invalid value", ""),
        ("run logs 5 --follow --json", "--follow goes on", "--jsonl"),
        ("run logs 5 --follow --reverse", "--follow goes on", ""),
        ("run wait", "", "codegen-async run wait --help"),
        ("run wait 5 --timeout -1", "--timeout: expected seconds >= 0", "nothing was sent"),
        ("watch --json", "watch has no end", "--jsonl"),
        ("watch --recent 0", "--recent: expected", ""),
        ("batch run", "", "codegen-async batch run --help"),
        ("batch run missing.jsonl", "FILE: expected a readable file (No such file", ""),
        ("batch run wrong.md", "FILE: expected a file whose name ends with .jsonl, ", ""),
        ("batch run --simulat good.jsonl", "Unknown option: --simulat\n", "did you mean --simulate? see codegen-async"),
        ("batch run --max-actve 5 good.jsonl", "Unknown option: --max-actve\n", "did you mean --max-active? see "),
        ("batch check --simulate good.jsonl", "Unknown option: --simulate\n", "hint: see codegen-async batch check"),
        ("run create --modl=x Fix it", "Unknown option: --modl\n", "did you mean --model? see "),
        ("batch run --simulat", "unknown option or file: --simulat", "./-"),
        ("batch run -", "prompts that come through a pipe have no place", "give --journal PATH"),
        ("batch run good.jsonl --format nope", "Invalid value", "codegen-async batch run --help"),
        ("batch run bad.jsonl", "bad.jsonl, line 2, prompt: expected a text", ""),
        ("batch run good.jsonl --simulate --journal y", "--simulate keeps no journal", ""),
        ("batch run good.jsonl --max-attempts 0", "--max-attempts: expected", ""),
        ("batch run good.jsonl --dashboard 8080", "--dashboard: a port is joined to it: --dashboard=8080", ""),
        ("batch run good.jsonl --dashboard=x", "--dashboard: expected a port, got 'x'", "--dashboard=8080"),
        ("batch run good.jsonl --dashboard=", "--dashboard: expected a port, got ''", ""),
        ("fake serve --limit create=0/60", "--limit: expected ENDPOINT=REQUESTS/SECONDS", "endpoints are create"),
        ("fake serve --limit nope=1/60", "--limit: expected", "endpoints are create"),
        ("fake serve --limit create=1/inf", "--limit: expected", ""),
        ("fake serve --fault nope", "--fault: expected NAME", "reset-before"),
        ("fake serve --fault reset-after:nope", "--fault: there is no endpoint", "endpoints are"),
        ("fake serve --fault reset-after:create:x", "--fault: expected NAME", ""),
        ("fake serve --port 65536", "--port: expected 0..65535", ""),
        ("fake serve --window nope", "Invalid value", ""),
        ("completion tcsh", "Invalid value", "codegen-async completion --help"),
        ("nope", 'Unknown command "nope"', "codegen-async --help"),
    ],
)
def test_a_wrong_command_line_is_told_in_two_lines(
    capsys: pytest.CaptureFixture[str], words: str, error: str, hint: str
) -> None:
    code = run(words.split())
    said = capsys.readouterr()
    assert (code, said.out) == (Exit.USAGE, "")
    assert said.err.startswith(f"error: {error}")
    assert hint in said.err
    assert len(said.err.splitlines()) <= 2
    assert not list(Path().glob("*.db*"))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("run", "create", "x", "--metadata", f'{{"a": {MANY}}}'), "--metadata: expected JSON"),
        (("run", "create", "x", "--metadata", "[" * 3000), "--metadata: expected JSON"),
        (("run", "create", "x", "--metadata", '{"a": "\udcff"}'), "--metadata: expected JSON"),
        (("run", "create", "--file", "a\0b"), "a?b cannot be read"),
        (("run", "create", "\udcff"), "PROMPT: expected text"),
        (("run", "get", MANY), "Invalid value for RUN_ID"),
        (("run", "list", "--org-id", MANY), "Invalid value for --org-id"),
        (("middesk", "resume", "a", "b", "[" * 3000), "ANSWER: expected JSON"),
        (("batch", "run", "a\0b.jsonl"), "FILE: expected a readable file"),
        (("batch", "run", "\udcff.jsonl"), "FILE: expected a readable file (its name is not UTF-8)"),
        (("batch", "run", "many.csv"), "many.csv, line 2, repo_id: expected an integer"),
        (("batch", "run", "many.jsonl"), "many.jsonl, line 1, line: expected JSON"),
    ],
    ids=str,
)
def test_no_input_is_taken_for_a_defect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], error: str
) -> None:
    monkeypatch.setenv("CODEGEN_API_TOKEN", "token")
    monkeypatch.setenv("MIDDESK_API_KEY", "key")
    Path("\udcff.jsonl").write_text('{"prompt": "x"}\n')
    Path("many.csv").write_text(f"prompt,repo_id\nx,{MANY}\n")
    Path("many.jsonl").write_text(f'{{"prompt": "x", "repo_id": {MANY}}}\n')
    assert run(words) == Exit.USAGE
    assert capsys.readouterr().err.startswith(f"error: {error}")
