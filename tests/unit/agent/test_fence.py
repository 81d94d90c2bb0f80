"""The watch over the lease: what ends with it, what ends later, and that a renewed one is watched again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from agent.fence import Fence
from agent.spawner.wire import Message

# Of a fence's timers: short, and the loop's own clock, by which they are set.
LEASE = 0.1
Clock = Callable[[], float]


def run(watch: Callable[[Clock], asyncio.Future[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await watch(asyncio.get_running_loop().time)

    asyncio.run(main())


def test_it_calls_again_when_the_next_of_what_is_kept_is_due() -> None:
    def watch(now: Clock) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        began, calls = now(), []

        def on_end() -> float | None:
            calls.append(now() - began)
            if len(calls) == 1:
                return began + 4 * LEASE
            assert calls[0] >= LEASE
            assert calls[1] >= 4 * LEASE
            done.set_result(None)
            return None

        Fence(lambda _: None, now, on_end).renew(began, LEASE, 1.0)
        return done

    run(watch)


def test_a_lease_that_begins_again_is_watched_though_something_is_kept_for_long() -> None:
    def watch(now: Clock) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        ends = 0

        def on_end() -> float | None:
            nonlocal ends
            ends += 1
            if ends == 1:
                asyncio.get_running_loop().call_soon(lambda: fence.renew(now(), LEASE, 1.0))
            else:
                done.set_result(None)
            return now() + 1e6

        fence = Fence(lambda _: None, now, on_end)
        fence.renew(now(), LEASE, 1.0)
        return done

    run(watch)


def test_the_spawner_hears_of_the_last_contact_too() -> None:
    def watch(now: Clock) -> asyncio.Future[None]:
        told: list[Message] = []
        fence = Fence(told.append, now, lambda: None)
        fence.renew(10.0, 5.0, 1.0)
        fence.renew(10.1, 5.0, 1.0)
        fence.renew(11.0, 5.0, 1.0)
        fence.close()
        assert [(m["until"], m["since"]) for m in told] == [(15.0, 10.0), (16.0, 11.0)]
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    run(watch)
