"""Times cases in rounds, in each of which every case has its turn, in new processes."""

from collections.abc import Sequence
from multiprocessing import get_context

from rich.progress import Progress

from benchmarks.cases import Case, Rates
from benchmarks.measure import rate

SECONDS = {"short": 2.0, "full": 12.0}  # of a case in a round
ROUNDS = {"short": 3, "full": 7}
context = get_context("forkserver")


def in_rounds(
    cases: Sequence[Case], device: str, bench: str, progress: Progress
) -> tuple[Rates, dict[str, float]]:
    """Times all cases, in every second round in the opposite order.

    Args:
        bench: "short" or "full".

    Returns:
        Images a second in each round, and the most memory of a process in MiB, by case.
    """
    rates: Rates = {case.name: [] for case in cases}
    memory = dict.fromkeys(rates, 0.0)
    bar = progress.add_task("", total=ROUNDS[bench] * len(cases))
    for number in range(ROUNDS[bench]):
        for case in cases if number % 2 == 0 else reversed(cases):
            progress.update(bar, description=case.name)
            speed, peak = timed(case, device, SECONDS[bench])
            rates[case.name].append(speed)
            memory[case.name] = max(memory[case.name], peak)
            progress.advance(bar)
    return rates, memory


def timed(case: Case, device: str, seconds: float) -> tuple[float, float]:
    """Returns images a second of all its processes together, and the most memory of one, in MiB."""
    barrier = context.Barrier(case.processes)
    pipes, processes = [], []
    for _ in range(case.processes):
        mine, theirs = context.Pipe(duplex=False)
        args = (case.kind, device, case.threads, case.args, seconds, barrier, theirs)
        processes.append(context.Process(target=rate, args=args))
        processes[-1].start()
        theirs.close()
        pipes.append(mine)
    try:
        speeds, peaks = zip(*(pipe.recv() for pipe in pipes), strict=True)
    except EOFError:
        raise SystemExit(f"{case.name}: its process ended without a word") from None
    finally:
        for process in processes:
            process.join()
    return sum(speeds), max(peaks)
