"""A run that asks is answered once, by whoever waits for it with a handler, and then waiting goes on."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import msgspec
import pytest

from codegen_async.errors import (
    ConnectionFailedError,
    InvalidArgumentError,
    InvalidRequestError,
    OutcomeUnknownError,
    RunBlockedError,
    RunFailedError,
    WaitTimeoutError,
)
from codegen_async.middesk.free import Interrupt
from codegen_async.middesk.interrupts import SETTLED
from codegen_async.middesk.models import MiddeskRun
from codegen_async.models import Phase
from codegen_async.testing import Fault, MiddeskServer
from tests.middesk.helpers import AGENT, BUSINESS, Person, ask, begin, client_of, endpoints, now
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


async def test_two_rounds_are_answered_and_the_run_completes_with_its_steps(middesk_server: MiddeskServer) -> None:
    middesk_server.world.script = [(30.0, ask("a", "b")), (20.0, ask("c")), (10.0, "completed")]
    person = Person()
    async with client_of(middesk_server) as client:
        run = await client.create_run(AGENT, business_id=BUSINESS)
        final = await client.wait_for_run(run, on_blocked=person, include_steps=True)
    assert final.phase is Phase.SUCCEEDED
    assert person.rounds == [["a", "b"], ["c"]]
    assert isinstance(final.steps, tuple)
    assert [step.type for step in final.steps].count("interrupt") == 3  # a and b are answered one after the other
    truth = middesk_server.world.runs[run.id]
    assert [answer["answer"] for answer in truth.answers.values()] == ["yes: a", "yes: b", "yes: c"]
    assert truth.refused == []
    assert middesk_server.violations == 0


async def test_polls_leave_the_steps_out_and_the_end_asks_for_them_once(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(60.0, "completed")])
    async with client_of(middesk_server) as client:
        assert (await client.wait_for_run(run.id)).steps is msgspec.UNSET
        before = len(middesk_server.requests)
        final = await client.wait_for_run(run.id, include_steps=True)
        assert isinstance(final.steps, tuple)
        assert endpoints(middesk_server)[before:] == ["get"]  # that it has ended is known
        assert await client.wait_for_run(final, include_steps=True) is final
        assert len(middesk_server.requests) == before + 1


async def test_without_a_handler_an_interrupted_run_raises_with_its_interrupts(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("Is it\x1b[2J right?", "b"))])
    async with client_of(middesk_server) as client:
        with pytest.raises(RunBlockedError, match=r"needs a person \(Is it\?\[2J right\?; b\)") as caught:
            await client.wait_for_run(run.id)
    assert isinstance(caught.value.run, MiddeskRun)
    assert [interrupt.label for interrupt in caught.value.run.interrupts] == ["Is it\x1b[2J right?", "b"]
    assert "resume" not in endpoints(middesk_server)


async def test_other_waits_take_an_interrupted_run_as_a_result(middesk_server: MiddeskServer) -> None:
    blocked = middesk_server.world.create(script=[(30.0, ask("a"))])
    ended = middesk_server.world.create(script=[(60.0, "error")])
    async with client_of(middesk_server) as client:
        runs = await client.wait_for_runs([ended.id, blocked.id])
        assert [run.phase for run in runs] == [Phase.FAILED, Phase.BLOCKED]
        assert [run.id async for run in client.as_completed([ended.id, blocked.id])] in (
            [ended.id, blocked.id],
            [blocked.id, ended.id],
        )


@pytest.mark.parametrize("nothing", [None, {}])
async def test_a_handler_that_answers_nothing_ends_the_wait(
    middesk_server: MiddeskServer, nothing: Mapping[str, Any] | None
) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a"))])
    person = Person(answer=lambda _run, _new: nothing)
    async with client_of(middesk_server) as client:
        with pytest.raises(RunBlockedError, match=r"was left unanswered \(a\)"):
            await client.wait_for_run(run.id, on_blocked=person)
        assert person.rounds == [["a"]]
        final = begin(client.wait_for_run(run.id, on_blocked=Person()))  # another wait may ask again
        await asyncio.sleep(60.0)
        assert list(run.answers.values()) == [{"run": run.id, "answer": "yes: a"}]
        final.cancel()


async def test_what_is_left_unanswered_is_not_asked_again(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a", "b")), (10.0, "completed")])

    def only_a(_run: MiddeskRun, new: Sequence[Interrupt]) -> Mapping[str, Any]:
        return {interrupt.id: 1 for interrupt in new if interrupt.label == "a"}

    person = Person(answer=only_a)
    async with client_of(middesk_server) as client:
        with pytest.raises(RunBlockedError, match=r"needs a person \(b\)"):
            await client.wait_for_run(run.id, on_blocked=person)
        assert person.rounds == [["a", "b"]]
        assert len(run.answers) == 1
        other = Person()
        assert (await client.wait_for_run(run.id, on_blocked=other)).phase is Phase.SUCCEEDED
        assert other.rounds == [["b"]]


async def test_a_handler_sees_what_it_left_and_may_answer_it_with_what_is_new(middesk_server: MiddeskServer) -> None:
    world = middesk_server.world
    run = world.create(script=[(30.0, ask("a", "b")), (10.0, "completed")])
    seen: list[tuple[list[str | None], list[str | None]]] = []

    async def handler(shown: MiddeskRun, new: Sequence[Interrupt]) -> Mapping[str, Any]:
        seen.append(([one.label for one in shown.interrupts], [one.label for one in new]))
        if len(seen) == 1:
            # While "a" is answered, the agent asks one more thing.
            run.questions["late"] = {"label": "c"}
            moment = run.moments[-1]
            run.moments[-1] = moment._replace(pending=(*moment.pending, "late"))
            return {new[0].id: "a"}
        return {one.id: one.label for one in shown.interrupts}

    async with client_of(middesk_server) as client:
        assert (await client.wait_for_run(run.id, on_blocked=handler)).phase is Phase.SUCCEEDED
    assert seen == [(["a", "b"], ["a", "b"]), (["b", "c"], ["c"])]
    assert list(run.answers.values()) == ["a", "b", "c"]


@pytest.mark.parametrize("answers", [{"unknown": 1}, ["a"], "a", {1: "a"}, {"i": float("nan")}, {"i": object()}])
async def test_what_is_no_answer_is_refused_and_nothing_sent(middesk_server: MiddeskServer, answers: Any) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a"))])

    def answer(_run: MiddeskRun, new: Sequence[Interrupt]) -> Any:
        if isinstance(answers, dict) and "i" in answers:
            return {new[0].id: answers["i"]}
        return answers

    async with client_of(middesk_server) as client:
        with pytest.raises(InvalidArgumentError, match="on_blocked"):
            await client.wait_for_run(run.id, on_blocked=Person(answer=answer))
    assert "resume" not in endpoints(middesk_server)


async def test_null_is_an_answer(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a")), (1.0, "completed")])
    async with client_of(middesk_server) as client:
        await client.wait_for_run(run.id, on_blocked=Person(answer=lambda _run, new: {new[0].id: None}))
    assert list(run.answers.values()) == [None]


# Time


async def test_while_the_handler_thinks_its_run_is_not_polled_and_others_are(middesk_server: MiddeskServer) -> None:
    world = middesk_server.world
    asking = world.create(script=[(30.0, ask("a")), (5.0, "completed")])
    other = world.create(script=[(1000.0, "completed")])
    person = Person(thinks=5000.0)
    async with client_of(middesk_server) as client:
        wait = begin(client.wait_for_run(asking.id, on_blocked=person))
        assert (await client.wait_for_run(other.id)).phase is Phase.SUCCEEDED
        assert person.began.is_set()
        before = len(middesk_server.requests)
        await asyncio.sleep(3000.0)
        assert len(middesk_server.requests) == before
        assert (await wait).phase is Phase.SUCCEEDED


async def test_the_time_of_the_handler_does_not_count(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a")), (30.0, "completed")])
    async with client_of(middesk_server) as client:
        final = await client.wait_for_run(run.id, on_blocked=Person(thinks=5000.0), timeout=90.0)
        assert final.phase is Phase.SUCCEEDED


async def test_the_time_of_the_run_does(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a")), (70.0, "completed")])
    began = now()
    async with client_of(middesk_server) as client:
        with pytest.raises(WaitTimeoutError) as caught:
            await client.wait_for_run(run.id, on_blocked=Person(thinks=5000.0), timeout=90.0)
        assert now() - began == pytest.approx(5090.0, abs=5.0)
        assert caught.value.run is not None
        assert caught.value.run.phase is Phase.RUNNING


async def test_the_time_of_the_handler_can_be_bounded(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a")), (5.0, "completed")])
    async with client_of(middesk_server) as client:
        with pytest.raises(WaitTimeoutError, match="not answered within 60 s") as caught:
            await client.wait_for_run(run.id, on_blocked=Person(thinks=61.0), interrupt_timeout=60.0)
        assert isinstance(caught.value.run, MiddeskRun)
        assert caught.value.run.phase is Phase.BLOCKED
        # The interrupt is free for whoever waits next.
        final = await client.wait_for_run(run.id, on_blocked=Person(thinks=59.0), interrupt_timeout=60.0)
        assert final.phase is Phase.SUCCEEDED


async def test_a_timeout_of_the_handlers_own_is_its_own(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a"))])

    def late(_run: MiddeskRun, _new: Sequence[Interrupt]) -> Mapping[str, Any]:
        raise TimeoutError("the ticket system")

    async with client_of(middesk_server) as client:
        with pytest.raises(TimeoutError, match="the ticket system"):
            await client.wait_for_run(run.id, on_blocked=Person(answer=late), interrupt_timeout=60.0)


@pytest.mark.parametrize("seconds", [-1, float("nan"), "60", True])
async def test_a_bound_must_be_seconds(middesk_server: MiddeskServer, seconds: Any) -> None:
    async with client_of(middesk_server) as client:
        with pytest.raises(InvalidArgumentError, match="interrupt_timeout"):
            await client.wait_for_run("r", interrupt_timeout=seconds)


async def test_an_error_of_the_handler_ends_the_wait_and_frees_the_interrupt(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a")), (5.0, "completed")])

    def fail(_run: MiddeskRun, _new: Sequence[Interrupt]) -> Mapping[str, Any]:
        raise LookupError("nobody is there")

    async with client_of(middesk_server) as client:
        with pytest.raises(LookupError, match="nobody is there"):
            await client.wait_for_run(run.id, on_blocked=Person(answer=fail))
        assert (await client.wait_for_run(run.id, on_blocked=Person())).phase is Phase.SUCCEEDED


# Once, and only once


async def test_a_stale_read_is_not_taken_for_a_new_question() -> None:
    async with MiddeskServer(token=CANARY, lag=(0.0, 30.0), seed=3) as server, client_of(server) as client:
        run = server.world.create(script=[(30.0, ask("a", "b")), (3.0, ask("c")), (40.0, "completed")])
        person = Person()
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
        assert person.rounds == [["a", "b"], ["c"]]
        assert (len(run.answers), run.refused) == (3, [])


async def test_the_next_question_is_not_delayed_by_doubts_about_old_ones(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(5.0, ask("a")), (1.0, ask("b")), (1.0, "completed")])
    async with client_of(middesk_server, latency=1.0) as client:
        began = now()
        await client.wait_for_run(run.id, on_blocked=Person())
        assert now() - began <= 7.0 + 3 * 1.5


async def test_a_question_that_was_answered_by_hand_is_not_asked_again() -> None:
    async with MiddeskServer(token=CANARY, lag=(20.0, 20.0)) as server, client_of(server) as client:
        run = server.world.create(script=[(30.0, ask("a")), (60.0, "completed")])
        with pytest.raises(RunBlockedError) as caught:
            await client.wait_for_run(run.id)
        assert isinstance(caught.value.run, MiddeskRun)
        await client.resume_run(run.id, caught.value.run.interrupts[0].id, "by hand")
        assert (await client.get_run(run.id)).phase is Phase.BLOCKED
        person = Person()
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
        assert (await client.wait_for_runs([run.id]))[0].phase is Phase.SUCCEEDED
        assert person.rounds == []


async def test_two_waits_for_one_run_ask_once(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a", "b")), (20.0, ask("c")), (10.0, "completed")])
    people = [Person(thinks=100.0), Person(thinks=100.0)]
    async with client_of(middesk_server) as client:
        finals = await asyncio.gather(*(client.wait_for_run(run.id, on_blocked=person) for person in people))
    assert [final.phase for final in finals] == [Phase.SUCCEEDED, Phase.SUCCEEDED]
    assert sorted(people[0].rounds + people[1].rounds) == [["a", "b"], ["c"]]
    assert (len(run.answers), run.refused) == (3, [])


async def test_a_wait_takes_over_where_another_gave_up(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a")), (10.0, "completed")])
    unwilling = Person(thinks=100.0, answer=lambda _run, _new: None)
    willing = Person(thinks=100.0)
    async with client_of(middesk_server) as client:
        first = begin(client.wait_for_run(run.id, on_blocked=unwilling))
        await unwilling.began.wait()
        second = begin(client.wait_for_run(run.id, on_blocked=willing))
        with pytest.raises(RunBlockedError):
            await first
        assert (await second).phase is Phase.SUCCEEDED
    assert len(run.answers) == 1


async def test_a_cancelled_handler_leaves_the_question_to_the_next(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a")), (10.0, "completed")])
    person = Person(thinks=100.0)
    async with client_of(middesk_server) as client:
        wait = begin(client.wait_for_run(run.id, on_blocked=person))
        await person.began.wait()
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
    assert person.rounds == [["a"], ["a"]]
    assert (len(run.answers), run.refused) == (1, [])


async def test_an_answer_that_is_cancelled_in_the_queue_was_not_given(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(0.0, ask("a")), (10.0, "completed")])
    person = Person()
    async with client_of(middesk_server) as client:
        (question,) = (await client.get_run(run.id)).interrupts
        assert question.id is not None
        client.limiter("all").hold(60.0)
        resume = begin(client.resume_run(run.id, question.id, "yes"))
        await asyncio.sleep(1.0)
        resume.cancel()
        with pytest.raises(asyncio.CancelledError):
            await resume
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
    assert person.rounds == [["a"]]


async def test_an_answer_is_sent_although_the_wait_is_cancelled_meanwhile() -> None:
    async with MiddeskServer(token=CANARY, latency=(1.0, 1.0)) as server, client_of(server) as client:
        run = server.world.create(script=[(30.0, ask("a", "b")), (10.0, "completed")])
        person = Person()
        wait = begin(client.wait_for_run(run.id, on_blocked=person))
        await person.began.wait()
        await asyncio.sleep(0.5)  # the first resume is on its way
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        assert [answer["answer"] for answer in run.answers.values()] == ["yes: a", "yes: b"]
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
        assert person.rounds == [["a", "b"]]
        assert run.refused == []


async def test_a_timeout_around_a_wait_lets_an_answer_be_sent(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.SLOW_HEADERS, endpoint="resume", seconds=20.0)
    run = middesk_server.world.create(script=[(30.0, ask("a")), (10.0, "completed")])
    person = Person()
    async with client_of(middesk_server) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(45.0):
                await client.wait_for_run(run.id, on_blocked=person)
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
    assert person.rounds == [["a"]]


async def test_a_cancelled_scope_lets_an_answer_be_sent(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.SLOW_HEADERS, endpoint="resume", seconds=20.0)
    run = middesk_server.world.create(script=[(30.0, ask("a")), (10.0, "completed")])
    person = Person()
    async with client_of(middesk_server) as client:
        with anyio.move_on_after(45.0) as scope:
            await client.wait_for_run(run.id, on_blocked=person)
        assert scope.cancelled_caught
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
    assert person.rounds == [["a"]]


async def test_a_second_cancellation_cuts_an_answer_short(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.DROP_AFTER, endpoint="resume")
    run = middesk_server.world.create(script=[(30.0, ask("a", "b")), (10.0, "completed")])
    person = Person()
    async with client_of(middesk_server) as client:
        wait = begin(client.wait_for_run(run.id, on_blocked=person))
        await person.began.wait()
        await asyncio.sleep(5.0)
        wait.cancel()
        await asyncio.sleep(5.0)
        assert not wait.done()
        cut = now()
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait
        assert now() - cut < 1.0
        # The first answer may have arrived, and is not given again; the second was never sent.
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
    assert person.rounds == [["a", "b"], ["b"]]
    assert (len(run.answers), run.refused) == (2, [])


async def test_closing_the_client_ends_a_wait_whose_handler_thinks(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, ask("a")), (10.0, "completed")])
    person = Person(thinks=100.0)
    async with client_of(middesk_server) as client:
        wait = begin(client.wait_for_run(run.id, on_blocked=person))
        await person.began.wait()
    with pytest.raises(RuntimeError, match="use the client inside its block"):
        await wait
    assert run.answers == {}
    async with client:
        assert (await client.wait_for_run(run.id, on_blocked=person, timeout=30.0)).phase is Phase.SUCCEEDED
    assert len(run.answers) == 1


# When an answer goes astray


async def test_a_resume_whose_answer_was_lost_is_not_repeated_and_the_wait_goes_on(
    middesk_server: MiddeskServer, caplog: pytest.LogCaptureFixture
) -> None:
    middesk_server.faults.add(Fault.RESET_AFTER, endpoint="resume")
    run = middesk_server.world.create(script=[(30.0, ask("a")), (10.0, "completed")])
    person = Person()
    async with client_of(middesk_server) as client:
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
    assert endpoints(middesk_server).count("resume") == 1
    assert person.rounds == [["a"]]
    assert "an answer to run" in caplog.text


async def test_a_resume_that_never_arrived_is_told_when_the_run_does_not_go_on(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.RESET_BEFORE, endpoint="resume")
    run = middesk_server.world.create(script=[(30.0, ask("a")), (10.0, "completed")])
    person = Person()
    async with client_of(middesk_server) as client:
        began = now()
        with pytest.raises(RunBlockedError, match=r"still asks what was answered \(a\)") as caught:
            await client.wait_for_run(run.id, on_blocked=person)
        assert now() - began == pytest.approx(30.0 + SETTLED, abs=15.0)
        assert endpoints(middesk_server).count("resume") == 1
        assert isinstance(caught.value.run, MiddeskRun)
        await client.resume_run(run.id, caught.value.run.interrupts[0].id, "again, by hand")
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
    assert person.rounds == [["a"]]


async def test_a_refused_answer_ends_the_wait_and_can_be_given_again(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.REFUSED, endpoint="resume", status=422)
    run = middesk_server.world.create(script=[(30.0, ask("a", "b")), (10.0, "completed")])
    person = Person()
    async with client_of(middesk_server) as client:
        with pytest.raises(InvalidRequestError):
            await client.wait_for_run(run.id, on_blocked=person)
        assert run.answers == {}
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
    assert person.rounds == [["a", "b"], ["a", "b"]]
    assert (len(run.answers), run.refused) == (2, [])


async def test_of_several_answers_those_before_a_refused_one_are_given(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.REFUSED, endpoint="resume", status=422, after=1)
    run = middesk_server.world.create(script=[(30.0, ask("a", "b", "c")), (10.0, "completed")])
    person = Person()
    async with client_of(middesk_server) as client:
        with pytest.raises(InvalidRequestError):
            await client.wait_for_run(run.id, on_blocked=person)
        assert len(run.answers) == 1
        assert (await client.wait_for_run(run.id, on_blocked=person)).phase is Phase.SUCCEEDED
    assert person.rounds == [["a", "b", "c"], ["b", "c"]]
    assert run.refused == []


async def test_a_resume_that_could_not_be_sent_is_no_answer() -> None:
    async with MiddeskServer(token=CANARY) as server:
        run = server.world.create(script=[(0.0, ask("a"))])
        async with client_of(server) as client:
            blocked = await client.get_run(run.id)
            await server.__aexit__(None, None, None)
            with pytest.raises(ConnectionFailedError):
                await client.resume_run(run.id, blocked.interrupts[0].id, 1)
            assert client._book.open(blocked)


async def test_a_resume_by_hand_whose_answer_was_lost_raises(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.RESET_AFTER, endpoint="resume")
    run = middesk_server.world.create(script=[(0.0, ask("a")), (10.0, "completed")])
    async with client_of(middesk_server) as client:
        blocked = await client.get_run(run.id)
        with pytest.raises(OutcomeUnknownError):
            await client.resume_run(run.id, blocked.interrupts[0].id, 1)
        assert not client._book.open(blocked)
        assert endpoints(middesk_server).count("resume") == 1
        assert (await client.wait_for_run(run.id, on_blocked=Person())).phase is Phase.SUCCEEDED


async def test_an_interrupt_without_an_id_cannot_be_answered(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, [])])
    person = Person()
    async with client_of(middesk_server) as client:
        with pytest.raises(RunBlockedError, match="no interrupts shown"):
            await client.wait_for_run(run.id, on_blocked=person)
        old = MiddeskRun(
            id="r", status="interrupted", interrupts=type((await client.get_run(run.id)).interrupts)([Interrupt(q=1)])
        )
        with pytest.raises(RunBlockedError):
            await client.wait_for_run(old, on_blocked=person)
    assert person.rounds == []


async def test_a_failed_run_can_raise_with_the_reason(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(30.0, "error")])
    async with client_of(middesk_server) as client:
        assert (await client.wait_for_run(run.id)).phase is Phase.FAILED
        with pytest.raises(RunFailedError, match=r"ended with status error$"):
            await client.wait_for_run(run.id, raise_on_failure=True)
        with pytest.raises(RunFailedError, match="ended with status error: The registry did not answer"):
            await client.wait_for_run(run.id, raise_on_failure=True, include_steps=True)


async def test_older_status_words_are_understood() -> None:
    async with MiddeskServer(token=CANARY, old_words=True) as server, client_of(server) as client:
        run = server.world.create(script=[(30.0, ask("a")), (10.0, "error")])
        final = await client.wait_for_run(run.id, on_blocked=Person())
        assert (final.status, final.phase) == ("failed", Phase.FAILED)
