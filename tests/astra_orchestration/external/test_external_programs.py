"""Programs that hang, die and quit: what they finished is kept, the rest goes on, and nothing of them is left."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astra_orchestration.external.errors import InterruptedRunError, ProgramError
from astra_orchestration.external.process import Command, Limits, Progress, find_program, run_process
from astra_orchestration.external.slots import Slots
from astra_orchestration.external.work import Worker

QUICK = Limits(item=0.4, silence=5.0, loading=5.0)
WORKER = """\
echo start >> calls
[ -e refuse ] && echo "no such keyword" && exit 2
[ -e never ] && exec sleep 1000
while read -r item; do
    echo "begin $item"
    case $item in
        hang*) sleep 1000 ;;
        die*) kill -SEGV $$ ;;
        once*) [ -e "seen-$item" ] || { touch "seen-$item"; kill -9 $$; } ;;
        quit*) exit 0 ;;
        lost*) continue ;;
        slow*) sleep 0.25 ;;
    esac
    echo "$item" >> "$1.out"
done < "$1"
"""


class Lines:
    """Items that are lines of a file, and a program that writes each to another."""

    def __init__(self, folder: Path, program: Path, items: Sequence[str]) -> None:
        self.folder, self.items = folder, list(items)
        self.name = f"work-{time.monotonic_ns()}-{items[0][:20]}"
        (folder / self.name).write_text("".join(f"{item}\n" for item in items))
        self.command = Command((str(program), self.name), folder, folder / f"{self.name}.log")

    def read(self, suffix: str) -> list[str]:
        path = self.folder / f"{self.name}.{suffix}"
        return path.read_text().splitlines() if path.exists() else []

    def look(self) -> Progress:
        finished, log = self.read("out"), self.read("log")
        return Progress(any(line.startswith("begin") for line in log), len(finished), len(log) + len(finished))

    def in_hand(self) -> Sequence[str]:
        begun = [line.split()[1] for line in self.read("log") if line.startswith("begin")]
        return [item for item in begun if item not in self.read("out")]

    def collect(self) -> Mapping[str, float]:
        return dict.fromkeys(self.read("out"), 0.1)


@pytest.fixture
def begin(tmp_path) -> Callable[[Sequence[str]], Lines]:
    program = tmp_path / "worker"
    program.write_text("#!/bin/sh\n" + WORKER)
    program.chmod(0o755)
    return lambda items: Lines(tmp_path, program, items)


def states(worker, items, **how):
    return {item: outcome.state for item, outcome in worker.work_through(items, **how).items()}


def n_calls(folder):
    return len((folder / "calls").read_text().splitlines())


def test_all_is_done_by_one_process(begin, tmp_path):
    assert states(Worker(begin, QUICK), list("abcde")) == dict.fromkeys("abcde", "finished")
    assert n_calls(tmp_path) == 1


@pytest.mark.parametrize(("bad", "state"), [("hang", "timed_out"), ("die", "died"), ("quit", "died"), ("lost", "died")])
def test_one_bad_item_costs_no_other(begin, tmp_path, bad, state):
    found = states(Worker(begin, QUICK), ["a", "b", bad, "c", "d"])
    assert found == {**dict.fromkeys("abcd", "finished"), bad: state}
    # All, the bad one alone, and the rest, if any was left.
    assert n_calls(tmp_path) == (2 if bad == "lost" else 3)


def test_what_dies_once_is_tried_alone_and_finished(begin, tmp_path):
    assert states(Worker(begin, QUICK), ["a", "once1", "b"]) == dict.fromkeys(["a", "once1", "b"], "finished")
    assert n_calls(tmp_path) == 3


def test_an_item_may_take_its_time_if_each_keeps_the_limit(begin):
    assert set(states(Worker(begin, QUICK), [f"slow{i}" for i in range(4)]).values()) == {"finished"}


def test_what_was_not_finished_comes_with_the_last_words(begin):
    outcome = Worker(begin, QUICK).work_through(["a", "die"])["die"]
    assert outcome.message.endswith("begin die")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["ok", "ok", "ok", "die", "quit", "lost", "once"]), min_size=1, max_size=12))
def test_whatever_goes_wrong_each_good_item_is_finished(begin, kinds):
    items = [f"{kind}{i}-{time.monotonic_ns()}" for i, kind in enumerate(kinds)]
    found = states(Worker(begin, QUICK, patience=100), items)
    assert found == {item: "finished" if item.startswith(("ok", "once")) else "died" for item in items}


def test_a_program_that_finishes_nothing_is_given_up(begin, tmp_path):
    found = states(Worker(begin, QUICK, patience=4), [f"die{i}" for i in range(30)])
    assert set(found.values()) == {"died", "not_run"}
    assert n_calls(tmp_path) <= 6


def test_good_items_behind_many_bad_ones_are_reached(begin):
    items = [f"die{i}" for i in range(15)] + [f"good{i}" for i in range(15)]
    found = states(Worker(begin, QUICK, patience=6), items)
    assert [found[item] for item in items if item.startswith("good")] == ["finished"] * 15


def test_several_processes_share_the_items(begin, tmp_path):
    items = [f"slow{i}" for i in range(6)] + ["die"]
    begun = time.monotonic()
    found = states(Worker(begin, QUICK), items, n_processes=3)
    assert found == {**dict.fromkeys(items[:-1], "finished"), "die": "died"}
    assert time.monotonic() - begun < 6 * 0.25
    assert n_calls(tmp_path) >= 4


def test_a_program_that_refuses_is_told_with_its_own_words(begin, tmp_path):
    (tmp_path / "refuse").touch()
    with pytest.raises(
        ProgramError, match=r"worker ended with status 2 before it began; its log is .*: no such keyword"
    ):
        Worker(begin, QUICK).work_through(list("abc"))
    assert n_calls(tmp_path) == 1


def test_a_program_that_never_begins_is_tried_twice(begin, tmp_path):
    (tmp_path / "never").touch()
    with pytest.raises(
        ProgramError, match=r"by a limit \(loading\) before it began; its log is .*: it printed nothing"
    ):
        Worker(begin, Limits(loading=0.2)).work_through(list("abc"))
    assert n_calls(tmp_path) == 2


def test_a_program_that_is_silent_until_its_first_item(begin):
    class Silent(Lines):
        def look(self) -> Progress:
            n_finished = len(self.read("out"))
            return Progress(n_finished > 0, n_finished, n_finished)

        def in_hand(self) -> Sequence[str]:
            return []

    program = Path(begin(["x"]).command.arguments[0])
    worker = Worker(lambda items: Silent(program.parent, program, items), QUICK)
    found = states(worker, ["a", "hang1", "die1", "die2", "hang2", "b", "c"])
    expected = {"a": "finished", "hang1": "timed_out", "die1": "died", "die2": "died", "hang2": "timed_out"}
    assert found == {**expected, "b": "finished", "c": "finished"}


def test_silence_has_a_limit_of_its_own(begin):
    found = states(Worker(begin, Limits(item=60.0, silence=0.4)), ["a", "hang", "b"])
    assert found == {"a": "finished", "hang": "timed_out", "b": "finished"}


def test_programs_that_cannot_be_started(tmp_path, monkeypatch):
    with pytest.raises(ProgramError, match=r"no program 'surely-not-here' on the path; install it, or configure"):
        find_program("surely-not-here")
    with pytest.raises(ProgramError, match=r"there is no program .*/none; configure where it is"):
        find_program(tmp_path / "none")
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    with pytest.raises(ProgramError, match=r"plain can't be executed by this user; see its permissions"):
        find_program(tmp_path / "plain")
    (tmp_path / "plain").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("plain") == tmp_path / "plain"


def run(folder, *arguments, limits=QUICK, **environment):
    command = Command(tuple(arguments), folder, folder / "log", environment)
    size = lambda: Progress(False, 0, 0)  # noqa: E731
    return run_process(command, size, limits)


def test_arguments_are_no_text_for_a_shell(tmp_path):
    unkind = ["a b", "$(touch owned)", "`touch owned`", "; touch owned", "'\"", "*", "-n", ""]
    ending = run(tmp_path, sys.executable, "-c", "import sys; print(sys.argv[1:])", *unkind)
    assert ending.status == 0 and ending.last_lines == str(unkind)
    assert not (tmp_path / "owned").exists()


def test_the_environment_is_added_to(tmp_path):
    assert run(tmp_path, "/bin/sh", "-c", 'echo "$HOME $EXTRA"', EXTRA="y").last_lines == f"{os.environ['HOME']} y"


def test_nothing_waits_for_input(tmp_path):
    assert run(tmp_path, "/bin/cat").status == 0


def test_what_a_program_leaves_behind_is_ended_with_it(tmp_path):
    run(tmp_path, "/bin/sh", "-c", "sleep 1000 & echo $! > pid; sleep 1000 & echo $! >> pid")
    for pid in map(int, (tmp_path / "pid").read_text().split()):
        assert is_gone(pid)


def is_gone(pid: int, seconds: float = 3.0) -> bool:
    """Whether a process ends in that time; a zombie that nobody waits for has ended."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


RUNNER = """
import sys
from pathlib import Path
from astra_orchestration.external.process import Command, Limits, Progress, run_process
folder = Path(sys.argv[1])
command = Command(("/bin/sh", "-c", "sleep 1000 & echo $$ $! > part; mv part pids; wait"), folder, folder / "log")
run_process(command, lambda: Progress(True, 0, 0), Limits())
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_children_end_with_the_run_however_it_ends(tmp_path, how):
    run_of_ours = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", RUNNER, str(tmp_path)], stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 30
        while not (tmp_path / "pids").exists():
            assert time.monotonic() < until and run_of_ours.poll() is None
            time.sleep(0.02)
        children = list(map(int, (tmp_path / "pids").read_text().split()))
        assert not any(is_gone(child, 0.05) for child in children)
        run_of_ours.send_signal(how)
        run_of_ours.wait(10)
        assert all(is_gone(child) for child in children)
    finally:
        run_of_ours.kill()
        run_of_ours.wait()


def test_a_run_that_is_asked_to_end_keeps_what_is_finished(begin, tmp_path):
    kept: list[str] = []

    class Kept(Lines):
        def look(self) -> Progress:
            progress = super().look()
            if progress.n_finished >= 2:
                raise KeyboardInterrupt
            return progress

        def collect(self) -> Mapping[str, float]:
            kept.extend(self.read("out"))
            return super().collect()

    program = begin(["x"]).command.arguments[0]
    with pytest.raises(KeyboardInterrupt):
        Worker(lambda items: Kept(tmp_path, Path(program), items), QUICK).work_through(["a", "b", "slow", "c"])
    assert kept[:2] == ["a", "b"]


def test_a_stopped_process_says_so(tmp_path):
    command = Command(("/bin/sleep", "1000"), tmp_path, tmp_path / "log")
    with pytest.raises(InterruptedRunError, match=r"sleep was ended: the run was asked to end"):
        run_process(command, lambda: Progress(True, 0, 0), Limits(), stopped=iter([False] * 5 + [True] * 9).__next__)


HOLDER = """
import sys, time
from pathlib import Path
from astra_orchestration.external.slots import Slots
with Slots("s", int(sys.argv[2]), Path(sys.argv[1])).hold(int(sys.argv[3])):
    print("has", flush=True)
    sys.stdin.read()
"""


def hold(folder, limit, count=1):
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", HOLDER, str(folder), str(limit), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_bound_holds_across_processes_and_beyond_a_kill(tmp_path):
    holders = [hold(tmp_path, 2) for _ in range(2)]
    try:
        assert [holder.stdout.readline() for holder in holders] == ["has\n"] * 2
        asked = iter([False] * 3 + [True] * 9)
        with Slots("s", 2, tmp_path).hold(1, asked.__next__):
            assert next(asked), "a third place was given"
        holders[0].kill()
        begun = time.monotonic()
        with Slots("s", 2, tmp_path).hold():
            assert time.monotonic() - begun < 3
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            holder.stdin.close()
            holder.stdout.close()


def test_several_places_are_taken_together_or_not_at_all(tmp_path):
    slots = Slots("s", 4, tmp_path)
    with slots.hold(3):
        asked = iter([False, False, True, True])
        with Slots("s", 4, tmp_path).hold(2, asked.__next__):
            pass
        assert list(asked) in ([], [True])  # waited in vain
        with slots.hold(1):
            pass
    with slots.hold(99):  # more than there are: all
        pass


def test_a_folder_for_locks_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    message = r"file, which bounds how many programs run at once, can't be used"
    with pytest.raises(ProgramError, match=message), Slots("s", 1, tmp_path / "file").hold():
        pass


def test_no_more_processes_than_there_are_places(begin, tmp_path):
    limits = Limits(item=5.0, running=(Slots("running", 1, tmp_path / "locks"),))
    begun = time.monotonic()
    states(Worker(begin, limits), [f"slow{i}" for i in range(4)], n_processes=4)
    assert time.monotonic() - begun > 4 * 0.25


def test_only_so_many_load_at_once(tmp_path):
    """Two loads of 0.3 s behind one place take twice that; the work after them goes on side by side."""
    script = textwrap.dedent("""\
        import sys, time
        from pathlib import Path
        from astra_orchestration.external.process import Command, Limits, Progress, run_process
        from astra_orchestration.external.slots import Slots
        folder, name = Path(sys.argv[1]), sys.argv[2]
        log = folder / f"{name}.log"
        command = Command(("/bin/sh", "-c", "date +%s.%N; sleep 0.3; date +%s.%N; sleep 0.3; date +%s.%N"), folder, log)
        look = lambda: Progress(len(log.read_text().split()) > 1, 0, 0)
        run_process(command, look, Limits(loads=Slots("loads", 1, folder)))
        """)
    both = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", script, str(tmp_path), name]) for name in ("one", "two")
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    first, second = sorted(list(map(float, (tmp_path / f"{n}.log").read_text().split())) for n in ("one", "two"))
    assert second[0] >= first[1]
