"""Too little memory in one of two processes: they take the same measure against it, or end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import two_ranks
from tests.support.forks import PROCESSES
from tests.support.tiny import tiny_values
from tests.support.two_ranks import Place
from tests.support.waiting import PATIENCE


def outcomes(
    base: Path, pictures: Path, folder: Path, place: Place, **changes: object
) -> list[tuple[list[str], str]]:
    """The warnings of each rank, and how it ended."""
    values = tiny_values(base, pictures, folder / "disc", num_processes=2, train_batch_size=2, **changes)
    pipes, ranks = [], []
    for rank in (0, 1):
        receiver, sender = PROCESSES.Pipe(duplex=False)
        given = (values, rank, str(folder / "meeting"), place, sender)
        ranks.append(PROCESSES.Process(target=two_ranks.run, args=given))
        ranks[-1].start()
        sender.close()
        pipes.append(receiver)
    try:
        assert all(pipe.poll(PATIENCE) for pipe in pipes), "one waits for the other"
        return [pipe.recv() for pipe in pipes]
    finally:
        for rank in ranks:
            rank.kill()
            rank.join(PATIENCE)


def test_a_stop_in_one_rank_lets_none_take_another_measure(
    tiny_base: Path, pictures: Path, tmp_path: Path
) -> None:
    changes = {"cache_latents": False, "max_train_steps": 4}
    (first, ended), (second, other) = outcomes(tiny_base, pictures, tmp_path, "denoiser", **changes)
    assert len(first) == 1
    assert first == second
    assert (ended, other) == ("stopped", "paused")  # only rank 0 knows what ended it


@pytest.mark.slow
def test_a_rank_that_runs_out_where_the_others_do_not_know_ends(
    tiny_base: Path, pictures: Path, tmp_path: Path
) -> None:
    """Its launcher ends the others then, and the training goes on from its last state."""
    (first, _), (second, ended) = outcomes(
        tiny_base, pictures, tmp_path, "norm of the gradients", max_train_steps=4
    )
    assert ended == "OutOfMemory"
    assert first == second == []
