import threading
import time

import pytest

from jaxalign.sweep.workers import Workers


def test_tasks_are_done_by_priority_and_may_submit_others():
    workers, order = Workers(1), []

    def task(name, *then):
        def run():
            order.append(name)
            for priority, other in then:
                workers.submit(priority, other)
            if name == "last":
                workers.hand_over("done")

        return run

    workers.submit((1, 2), task("last"))
    workers.submit((1, 0), task("first", ((0, 0), task("urgent"))))
    workers.submit((1, 1), task("second"))
    workers.start()
    assert next(workers.values(5.0)) == "done"
    assert order == ["first", "urgent", "second", "last"]
    workers.stop()
    workers.join()


def test_what_a_task_raises_reaches_the_one_who_waits():
    workers = Workers(2)

    def fail():
        raise RuntimeError("no")

    workers.submit((0,), fail)
    workers.start()
    with pytest.raises(RuntimeError, match="no"):
        next(workers.values(5.0))
    workers.stop()
    workers.join()


def test_waiting_is_told_of_every_interval():
    workers = Workers(1)
    workers.start()
    start = time.monotonic()
    assert next(workers.values(0.05)) is None and 0.04 < time.monotonic() - start < 2
    workers.stop()
    workers.join()


def test_after_a_stop_no_task_begins_and_what_is_finished_is_there():
    workers, started, go_on, begun = Workers(1), threading.Event(), threading.Event(), []

    def long():
        workers.hand_over("before")
        started.set()
        go_on.wait(5)

    workers.submit((0,), long)
    workers.submit((1,), lambda: begun.append(1))
    workers.start()
    started.wait(5)
    workers.stop()
    go_on.set()
    workers.join()
    assert list(workers.handed_over()) == ["before"] and not begun
