"""What is written behind the back of whoever asks: in order, in groups, bounded, and all of it at the end."""

from __future__ import annotations

import threading

from ragft import background
from ragft.background import GroupWriter


def test_all_is_written_in_order_before_it_closes() -> None:
    written: list[int] = []
    writer = GroupWriter(written.extend, "test")
    for number in range(2500):
        assert writer.put(number)
    writer.close()
    writer.close()
    assert written == list(range(2500))


def test_what_finds_no_room_is_refused_until_there_is_some() -> None:
    may_write, written = threading.Event(), list[str]()

    def write(group: list[str]) -> None:
        may_write.wait(60)
        written.extend(group)

    writer = GroupWriter(write, "test", room=10)
    assert writer.put("a", 6) and not writer.put("b", 6) and writer.put("c", 4)
    may_write.set()
    writer.flush()
    assert writer.put("d", 10)
    writer.close()
    assert written == ["a", "c", "d"]


def test_a_group_that_cannot_be_written_stops_nothing() -> None:
    written: list[list[int]] = []

    def write(group: list[int]) -> None:
        if 1 in group:
            raise OSError("no")
        written.append(group)

    writer = GroupWriter(write, "test", room=background.MOST)
    writer.put(1, background.MOST)
    writer.flush()
    assert writer.put(2, background.MOST)
    writer.close()
    assert written == [[2]]


def test_who_comes_after_the_end_is_refused_and_waits_for_nothing() -> None:
    may_write, written = threading.Event(), list[int]()

    def write(group: list[int]) -> None:
        may_write.wait(60)
        written.extend(group)

    writer = GroupWriter(write, "test")
    writer.put(1)
    closing = threading.Thread(target=writer.close)
    closing.start()
    while not writer._closed:
        closing.join(0.001)
    assert not writer.put(2)
    flushing = threading.Thread(target=writer.flush, daemon=True)
    flushing.start()
    assert closing.is_alive() and flushing.is_alive()  # what was put before is not written yet
    may_write.set()
    flushing.join(10)
    closing.join(10)
    assert not flushing.is_alive() and not closing.is_alive() and written == [1]
