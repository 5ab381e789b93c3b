"""Whose a journal is, where it belongs, which file it is, and what is made of one of an earlier version."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from codegen_async.batch.items import State
from codegen_async.batch.places import Account
from codegen_async.batch.readers import read_account, read_outcomes
from codegen_async.errors import InvalidArgumentError, JournalError
from codegen_async.private import open_private
from codegen_async.testing import CodegenServer
from tests.batch.helpers import ENDLESS, SHORT, Forgetful, journal_at, opened, plan, query, run_all, states
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

OLD = Path(__file__).parent / "data" / "journal-of-0.1.0.sql"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


def runs_per_prompt(server: CodegenServer) -> Counter[str]:
    return Counter(run.prompt for run in server.world.runs.values())


async def begin(server: CodegenServer, path: Path, count: int, seconds: float = 30.0) -> None:
    """Run a batch for so long, and leave it."""
    async with opened(server, path) as batch:
        for n in range(count):
            batch.add(f"do {n}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await run_all(batch)


async def copied(path: Path) -> Path:
    """Return a copy of a journal without anything beside it."""
    return await asyncio.to_thread(_copied, path)


def _copied(path: Path) -> Path:
    folder = path.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(path, folder / path.name))


# -- where it belongs


async def test_a_journal_is_refused_on_another_server_before_anything_is_sent(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = ENDLESS
    await begin(codegen_server, path, 12)
    async with CodegenServer(token=CANARY) as other:
        with pytest.raises(JournalError, match="belongs to organization 323 at") as caught:
            async with opened(other, path):
                pass
        assert codegen_server.url in str(caught.value)
        assert other.url in str(caught.value)
        assert "--adopt" in str(caught.value)
        assert not other.requests
    assert await asyncio.to_thread(read_account, path) == Account.at(codegen_server.url, 323)


async def test_a_server_that_has_another_address_now_is_adopted(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (500.0, "COMPLETE")]
    await begin(codegen_server, path, 3)
    url = codegen_server.url.replace("127.0.0.1", "localhost")
    with pytest.raises(JournalError, match="same server under another address"):
        async with opened(codegen_server, path, base_url=url):
            pass
    async with opened(codegen_server, path, base_url=url, adopt=True) as batch:
        assert len(await run_all(batch)) == 3
    assert len(codegen_server.world.runs) == 3


async def test_another_organization_is_never_adopted(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = ENDLESS
    await begin(codegen_server, path, 3)
    with pytest.raises(JournalError, match="and this is organization 9") as caught:
        async with opened(codegen_server, path, org_id=9, adopt=True):
            pass
    assert "--adopt" not in str(caught.value)


async def test_a_journal_of_which_nothing_was_sent_belongs_nowhere_yet(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    async with CodegenServer(token=CANARY) as other, opened(other, path) as batch:
        batch.add("do")
    async with opened(codegen_server, path) as batch:
        (outcome,) = await run_all(batch)
    assert outcome.succeeded


@pytest.mark.parametrize("url", ["https://API.example.com/", "https://api.example.com:443", "HTTPS://api.example.com"])
async def test_an_address_may_be_written_in_several_ways(url: str) -> None:
    assert Account.at(url, 1) == Account.at("https://api.example.com", 1)


async def test_a_run_of_a_stranger_with_the_same_id_is_not_taken_for_ours(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = ENDLESS
    await begin(codegen_server, path, 1)
    ours = next(iter(codegen_server.world.runs.values()))
    ours.metadata = {"idempotency_key": "of somebody else"}
    codegen_server.world.end(ours.id)
    async with opened(codegen_server, path) as batch:
        (outcome,) = await run_all(batch)
    assert (outcome.state, outcome.run) == (State.CREATED, None)
    assert "another key" in (outcome.error or "")


# -- whose it is


async def test_a_journal_that_somebody_else_made_is_refused_until_it_is_adopted(
    codegen_server: CodegenServer, path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    codegen_server.world.script = SHORT
    await begin(codegen_server, path, 3, seconds=0.0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state of another"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(JournalError, match="was not made by this user"):
        async with opened(codegen_server, path):
            pass
    assert not codegen_server.world.runs
    async with opened(codegen_server, path, adopt=True):
        pass
    async with opened(codegen_server, path) as batch:  # from now on it is his
        assert len(await run_all(batch)) == 3


async def test_without_a_home_a_journal_is_known_again_as_long_as_the_temporary_folder_is(
    codegen_server: CodegenServer, path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    codegen_server.world.script = SHORT
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    await begin(codegen_server, path, 2, seconds=0.0)
    async with opened(codegen_server, path) as batch:
        assert len(await run_all(batch)) == 2


@pytest.mark.parametrize("mode", [0o644, 0o660])
async def test_a_journal_that_others_can_read_or_write_is_refused(
    codegen_server: CodegenServer, path: Path, mode: int
) -> None:
    await begin(codegen_server, path, 1, seconds=0.0)
    await asyncio.to_thread(path.chmod, mode)
    with pytest.raises(JournalError, match="chmod 600"):
        async with opened(codegen_server, path):
            pass


@pytest.mark.parametrize("side", ["", "-journal", "-wal", "-shm", "-lock"])
async def test_no_link_is_followed(codegen_server: CodegenServer, path: Path, tmp_path: Path, side: str) -> None:
    precious = tmp_path / "precious"

    def plant() -> None:
        precious.write_text("mine")
        precious.chmod(0o600)
        Path(f"{path}{side}").symlink_to(precious)

    await asyncio.to_thread(plant)
    with pytest.raises(JournalError, match="symbolic link"):
        async with opened(codegen_server, path):
            pass
    assert await asyncio.to_thread(precious.read_text) == "mine"


async def test_what_is_no_file_is_no_journal(codegen_server: CodegenServer, path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(JournalError, match="no regular file"):
        async with opened(codegen_server, path):
            pass


# -- which file it is


async def test_a_clean_end_leaves_nothing_beside_the_journal_but_its_lock(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    async with opened(codegen_server, path) as batch:
        batch.add("do")
        await run_all(batch)
    assert await asyncio.to_thread(lambda: {file.name for file in path.parent.iterdir()} - {"state"}) == {
        "batch.db",
        "batch.db-lock",
    }


async def test_a_copy_finds_what_was_sent_since_it_was_taken(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    await begin(codegen_server, path, 20)  # a window of them
    copy = await copied(path)
    async with opened(codegen_server, path) as batch:
        await run_all(batch)
    async with opened(codegen_server, copy) as batch:
        await run_all(batch)
        assert (await batch.status())[State.ENDED] == 20
        assert (await batch.audit()).ok
    assert set(runs_per_prompt(codegen_server).values()) == {1}
    assert len(codegen_server.world.runs) == 20


async def test_an_original_finds_what_was_sent_from_its_copy(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    await begin(codegen_server, path, 20)
    async with opened(codegen_server, await copied(path)) as batch:
        await run_all(batch)
    async with opened(codegen_server, path) as batch:
        await run_all(batch)
        assert (await batch.status())[State.ENDED] == 20
    assert len(codegen_server.world.runs) == 20


async def test_a_copy_finds_further_attempts_too(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = [(0.0, "ACTIVE"), (1.0, "ERROR")]
    await begin(codegen_server, path, 12, seconds=5.0)
    copy = await copied(path)
    async with opened(codegen_server, path) as batch:
        await run_all(batch, max_attempts=2)
    before = len(codegen_server.world.runs)
    async with opened(codegen_server, copy) as batch:
        await run_all(batch, max_attempts=2)
    assert len(codegen_server.world.runs) == before


async def test_in_a_copy_no_prompt_is_corrected_that_was_sent_since(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = SHORT
    file = path.with_name("p.jsonl")
    await asyncio.to_thread(file.write_text, '{"prompt": "as it was", "key": "k"}\n')
    async with opened(codegen_server, path) as batch:
        await batch.add_file(file)
    copy = await copied(path)
    async with opened(codegen_server, path) as batch:
        await run_all(batch)
    await asyncio.to_thread(file.write_text, '{"prompt": "not as it was", "key": "k"}\n')
    async with opened(codegen_server, copy) as batch:
        with pytest.raises(InvalidArgumentError, match="line 1, key: expected another key, or the content it had"):
            await batch.add_file(file)
        (outcome,) = await run_all(batch)
        assert (outcome.prompt, outcome.succeeded) == ("as it was", True)
        with pytest.raises(InvalidArgumentError, match="other content, which was sent"):
            await batch.add_file(file)
    assert len(codegen_server.world.runs) == 1


async def test_a_prompt_that_is_added_to_a_copy_later_is_not_sent_twice(
    codegen_server: CodegenServer, path: Path
) -> None:
    codegen_server.world.script = SHORT
    await begin(codegen_server, path, 2)
    copy = await copied(path)
    async with opened(codegen_server, path) as batch:
        batch.add("late", key="late")
        await run_all(batch)
    for _ in range(2):
        async with opened(codegen_server, copy) as batch:
            await run_all(batch)
    async with opened(codegen_server, copy) as batch:
        batch.add("late", key="late")
        (outcome,) = await run_all(batch)
    assert outcome.succeeded
    assert len(codegen_server.world.runs) == 3


async def test_a_run_is_that_of_its_prompt_in_every_copy_wherever_the_line_is(
    codegen_server: CodegenServer, path: Path, tmp_path: Path
) -> None:
    codegen_server.world.script = SHORT
    file = tmp_path / "prompts.txt"
    await asyncio.to_thread(file.write_text, "one\n")
    async with opened(codegen_server, path) as batch:
        await batch.add_file(file)
        await run_all(batch)
    copy = await copied(path)
    for journal, text in ((path, "one\ntwo\nthree\nthree\n"), (copy, "one\nthree\nfour\nfour\nthree\n")):
        await asyncio.to_thread(file.write_text, text)
        async with opened(codegen_server, journal) as batch:
            await batch.add_file(file)
            await run_all(batch)
    prompts = {outcome.run_id: outcome.prompt for outcome in await asyncio.to_thread(lambda: [*read_outcomes(copy)])}
    assert prompts == {run.id: run.prompt for run in codegen_server.world.runs.values() if run.prompt != "two"}
    assert runs_per_prompt(codegen_server) == {"one": 1, "two": 1, "three": 2, "four": 2}


@pytest.mark.parametrize("lock", ["there", "removed", "replaced"])
async def test_a_copy_is_not_run_beside_its_original(codegen_server: CodegenServer, path: Path, lock: str) -> None:
    codegen_server.world.script = ENDLESS
    await begin(codegen_server, path, 2)
    copy = await copied(path)
    async with opened(codegen_server, path):
        file = path.with_name(f"{path.name}-lock")
        if lock != "there":
            await asyncio.to_thread(file.unlink)
        if lock == "replaced":
            await asyncio.to_thread(file.touch, 0o600)
        with pytest.raises(JournalError, match=r"is a copy of .*, which is being run"):
            async with opened(codegen_server, copy):
                pass


async def test_a_copy_is_refused_where_nothing_proves_that_runs_can_be_found(path: Path) -> None:
    async with Forgetful(token=CANARY) as server:
        server.world.script = SHORT
        await begin(server, path, 20)
        copy = await copied(path)
        async with opened(server, copy) as batch:
            with pytest.raises(JournalError, match="is a copy, and nothing proves"):
                await run_all(batch)
        assert len(server.world.runs) == 10
        async with opened(server, path) as batch:
            await run_all(batch)
        assert len(server.world.runs) == 20


async def test_a_journal_that_is_renamed_or_moved_is_the_same(codegen_server: CodegenServer, path: Path) -> None:
    codegen_server.world.script = ENDLESS
    await begin(codegen_server, path, 2)
    other = path.with_name("other.db")
    await asyncio.to_thread(path.rename, other)
    async with journal_at(other) as journal:
        assert journal.moved == 0


async def test_a_journal_without_its_log_is_refused(codegen_server: CodegenServer, path: Path) -> None:
    def carry() -> Path:
        with contextlib.closing(
            sqlite3.connect(path)
        ) as connection:  # as an earlier version left it when it was killed
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE meta (name TEXT)")
            path.chmod(0o600)
            return _copied(path)

    copy = await asyncio.to_thread(carry)
    with pytest.raises(JournalError, match="is not whole"):
        async with opened(codegen_server, copy):
            pass
    with pytest.raises(JournalError, match="is not whole"):
        await asyncio.to_thread(lambda: list(read_outcomes(copy)))


async def test_parts_of_a_journal_that_is_not_there_are_not_taken_for_a_new_one(
    codegen_server: CodegenServer, path: Path
) -> None:
    await asyncio.to_thread(lambda: os.close(open_private(Path(f"{path}-wal"))))
    with pytest.raises(JournalError, match=r"missing or empty, but batch\.db-wal"):
        async with opened(codegen_server, path):
            pass


# -- of an earlier version


@pytest.fixture
def old(path: Path) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"PRAGMA application_id = 1128743242; PRAGMA user_version = 1; {OLD.read_text()}")
    path.chmod(0o600)
    return path


async def test_a_journal_of_an_earlier_version_is_brought_up_to_date(codegen_server: CodegenServer, old: Path) -> None:
    async with journal_at(old) as journal:
        assert journal.batch_id == "7c1567429fd6"
        assert await states(journal) == {
            "#prompts.jsonl:1": State.ENDED,
            "#prompts.jsonl:2": State.CREATED,
            "#prompts.jsonl:3": State.SENDING,
            "lost": State.CREATED,  # not found is no end
            "kept": State.ENDED,
            "refused": State.REJECTED,
            "#0": State.PLANNED,
        }
        await plan(journal, "new")
    assert await asyncio.to_thread(query, old, "PRAGMA user_version") == [(7,)]
    kinds = await asyncio.to_thread(query, old, "SELECT DISTINCT typeof(run_id) FROM items WHERE run_id IS NOT NULL")
    assert kinds == [("text",)]
    sources = await asyncio.to_thread(query, old, "SELECT source FROM items WHERE source IS NOT NULL")
    assert sources == [("prompts.jsonl",)] * 3
    async with opened(codegen_server, old) as batch:  # it was private, so it is this user's
        assert (await batch.status())[State.ENDED] == 2


async def test_prompts_of_an_earlier_version_are_known_by_their_content(
    codegen_server: CodegenServer, old: Path, tmp_path: Path
) -> None:
    file = tmp_path / "renamed.jsonl"
    lines = "".join(f'{{"prompt": "do #prompts.jsonl:{n}"}}\n' for n in (3, 1, 2))
    await asyncio.to_thread(file.write_text, lines)
    async with opened(codegen_server, old) as batch:
        added = await batch.add_file(file)
    assert (added.known, added.new) == (3, ())


async def test_a_journal_of_an_earlier_version_that_others_could_read_is_not_taken_for_ours(
    codegen_server: CodegenServer, old: Path
) -> None:
    await asyncio.to_thread(old.chmod, 0o644)  # as a repository brings it
    with pytest.raises(JournalError, match="can be read or written by others"):
        async with opened(codegen_server, old):
            pass
