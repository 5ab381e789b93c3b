"""What the page on web frameworks prints works: whoever started a run sees it, and nobody else does."""

import asyncio
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

import pytest

from codegen_async.testing import CodegenServer
from tests.web.calling import Call, Lifespan, get
from tests.web.recipes import PAGE, RECIPES, lines_of, load

LIFE = [(0.0, "ACTIVE"), (20.0, "COMPLETE")]
ATTACHED = {
    "fastapi_app": "fastapi",
    "starlette_app": "starlette",
    "litestar_app": "litestar",
    "quart_app": "quart",
    "django_app": "django",
}


def test_there_is_a_recipe_for_each_framework() -> None:
    assert list(RECIPES) == [*ATTACHED, "sanic_app", "aiohttp_app", "queue_app", "dashboard_app"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_short(name: str) -> None:
    assert len(lines_of(name)) <= (20 if name != "queue_app" else 25)


def test_the_first_page_shows_a_recipe_that_is_tried() -> None:
    page = (PAGE.parent / "web-backend.md").read_text()
    assert RECIPES["starlette_app"].removeprefix("# starlette_app.py\n") in page


@pytest.fixture
def recipe(
    request: pytest.FixtureRequest, tmp_path: Path, codegen_env: CodegenServer, monkeypatch: pytest.MonkeyPatch
) -> Generator[ModuleType]:
    codegen_env.world.script = LIFE
    monkeypatch.chdir(tmp_path)
    name = request.param
    pytest.importorskip(ATTACHED.get(name, "starlette"))
    yield load(name, tmp_path)
    del sys.modules[name]


@pytest.mark.asyncio(loop_factories=["virtual"])
@pytest.mark.parametrize("recipe", ATTACHED, indirect=True)
async def test_who_started_a_run_sees_it_to_its_end_and_nobody_else(
    recipe: ModuleType, codegen_env: CodegenServer
) -> None:
    alice, bob = {"cookie": "user=alice"}, {"cookie": "user=bob"}
    life = Lifespan(recipe.app)
    assert (await life.ask("startup"))["type"] == "lifespan.startup.complete"
    place = "/runs" if recipe.__name__ == "starlette_app" else "/tasks?prompt=do%20it"
    nobody = Call(recipe.app, "POST", place, body=b'{"prompt": "do it"}', headers={"content-type": "application/json"})
    await asyncio.wait((nobody.task,))
    assert nobody.task.exception() is not None or nobody.status >= 400
    assert codegen_env.world.runs == {}
    if recipe.__name__ == "starlette_app":
        sent = {"content-type": "application/json", "idempotency-key": "1", **alice}
        made = Call(recipe.app, "POST", "/runs", body=b'{"prompt": "do it"}', headers=sent)
    else:
        made = Call(recipe.app, "POST", "/tasks?prompt=do%20it", headers=alice)
    answer = await made.answer()
    assert answer.status == 202, answer
    path = f"/runs/{answer.json['id']}"
    assert (await get(recipe.app, path, **alice)).json["phase"] == "running"
    for stranger in (bob, {}):
        assert (await get(recipe.app, path, **stranger)).status == 404
        assert (await get(recipe.app, "/runs/4711", **stranger)).status == 404
        assert (await get(recipe.app, f"{path}/events", **stranger)).status == 404
    stream = Call(recipe.app, "GET", f"{path}/events", headers=alice)
    await stream.task
    assert [event.data.get("phase") for event in stream.events] == ["running", "succeeded", None]
    assert (await get(recipe.app, f"{path}/events", last_event_id="end", **alice)).status == 204
    assert (await get(recipe.app, "/no-such-thing")).status == 404
    assert (await life.ask("shutdown"))["type"] == "lifespan.shutdown.complete"
    await life.task


@pytest.mark.asyncio(loop_factories=["virtual"])
@pytest.mark.parametrize("recipe", ["queue_app"], indirect=True)
async def test_what_a_queue_has_taken_is_made_into_a_run_once_whatever_happens(
    recipe: ModuleType, codegen_env: CodegenServer
) -> None:
    prompts = [f"prompt {number}" for number in range(12)]  # two more than the limit of a minute
    life = Lifespan(recipe.app)
    await life.ask("startup")
    for number, prompt in enumerate(prompts):
        for _ in range(2):  # a browser that asks twice
            sent = {"content-type": "application/json", "idempotency-key": f"key-{number}"}
            made = Call(
                recipe.app, "POST", "/runs", body=f'{{"prompt": "{prompt}"}}'.encode(), headers=sent, state=life.state
            )
            answer = await made.answer()
            assert (answer.status, answer.json) == (202, {"key": f"key-{number}"})
    await life.ask("shutdown")
    await life.task
    assert len(codegen_env.world.runs) < len(prompts)
    life = Lifespan(recipe.app)
    await life.ask("startup")
    await asyncio.sleep(600)
    assert sorted(run.prompt for run in codegen_env.world.runs.values()) == sorted(prompts)
    (run_id, *_) = recipe.done.values()
    assert (await get(recipe.app, f"/runs/{run_id}")).json["phase"] == "succeeded"
    assert (await get(recipe.app, "/runs/4711")).status == 404
    await life.ask("shutdown")
    await life.task
    assert codegen_env.violations == 0
