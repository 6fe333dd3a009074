"""Questions to workers over real channels: who answers, who does not, and what comes too late."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from harness.waiting import TIMEOUT

from lbd.control.channel import Channel
from lbd.control.questions import Questions


class Ends:
    """A channel of the supervisor and its other end, which answers what `say` returns."""

    def __init__(self, questions: Questions, say: Any) -> None:
        ours, theirs = socket.socketpair()
        self.asked: list[Any] = []
        self.say = say
        self.channel = Channel(ours, self._on_answer, lambda: questions.on_closed(self.channel))
        self.other = Channel(theirs, self._on_question, lambda: None)
        self.questions = questions

    def _on_answer(self, kind: str, content: Any, _: list[int]) -> None:
        assert kind == "answer"
        self.questions.on_answer(*content)

    def _on_question(self, kind: str, content: Any, _: list[int]) -> None:
        assert kind == "question"
        number, question, about = content
        self.asked.append(number)
        if self.say is not None:
            self.other.send("answer", (number, self.say(question, about)))

    def close(self) -> None:
        self.channel.close()
        self.other.close()


def test_each_answers_for_itself() -> None:
    async def scenario() -> None:
        questions = Questions()
        ends = {index: Ends(questions, lambda kind, about, i=index: (kind, about, i)) for index in (0, 1)}
        channels = {index: one.channel for index, one in ends.items()}
        found = await asyncio.gather(*(questions.ask(channels, "kind", n, TIMEOUT) for n in range(50)))
        for number, answers in enumerate(found):
            assert answers == {0: ("kind", number, 0), 1: ("kind", number, 1)}
        assert repr(questions) == "<Questions open=0>"
        for one in ends.values():
            one.close()

    asyncio.run(scenario())


def test_who_is_silent_is_not_waited_for_and_comes_too_late() -> None:
    async def scenario() -> None:
        questions = Questions()
        silent, good = Ends(questions, None), Ends(questions, lambda *_: "good")
        channels = {0: silent.channel, 1: good.channel}
        assert await questions.ask(channels, "kind", None, 0.2) == {0: None, 1: "good"}
        (number,) = silent.asked
        silent.other.send("answer", (number, "too late"))
        silent.say = lambda *_: "in time"
        assert await questions.ask(channels, "kind", None, TIMEOUT) == {0: "in time", 1: "good"}
        for one in (silent, good):
            one.close()

    asyncio.run(scenario())


def test_who_ends_is_not_waited_for() -> None:
    async def scenario() -> None:
        questions = Questions()
        dying = Ends(questions, lambda *_: dying.other.close())
        async with asyncio.timeout(TIMEOUT):
            assert await questions.ask({0: dying.channel}, "kind", None, 10 * TIMEOUT) == {0: None}
            dying.channel.close()
            assert await questions.ask({0: dying.channel}, "kind", None, 10 * TIMEOUT) == {0: None}
            assert await questions.ask({}, "kind", None, 10 * TIMEOUT) == {}

    asyncio.run(scenario())
