"""The mirror over real supabase-py, a server that speaks Supabase's API, and real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from lora_studio.errors import StoreError
from lora_studio.events import Failed, Noted, Paused, Stopped
from lora_studio.jobs.supabase.push import Pace
from lora_studio.records import JobStatus
from tests.support.supabase.databases import Postgres
from tests.support.supabase.faulty import Faulty
from tests.support.supabase.mirroring import Open, Rows, open_home, step
from tests.support.supabase.server import Server
from tests.support.waiting import PATIENCE, until

JOB = "select status::text, progress, step, total_steps, loss, message, run from training_jobs where id = %s"


def test_a_training_is_seen_over_there_as_it_is_here(opened: Open, rows: Rows) -> None:
    home = opened()
    job = home.begin(done=5)
    assert home.mirror.state().state == "waiting"
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    status, progress, *figures = rows(JOB, home.there("job", job.id))[0]
    assert (status, *figures) == ("running", 5, 10, 0.25, "", 1)
    assert progress == pytest.approx(home.store.get(job.id).progress)
    home.store.append(job.id, Noted(message="The loss jumped.", level="warning"))
    home.finish(job)
    assert home.mirror.flush(PATIENCE)
    assert rows(JOB, home.there("job", job.id))[0][:3] == ("finished", 100.0, 5)
    events = "select seq, kind, level from job_events where job_id = %s order by seq"
    told = rows(events, home.there("job", job.id))
    assert [seq for seq, _, _ in told] == list(range(1, 10))
    assert told[-2:] == [(8, "Noted", "warning"), (9, "Finished", "info")]
    lora = "select status::text, name, network_dim, trigger_word, artifact_path from loras where id = %s"
    assert rows(lora, home.there("lora", "cat")) == [("ready", "Cat", 8, "zwx", None)]
    assert home.mirror.state().state == "synced"


def test_what_was_there_before_the_mirror_follows(opened: Open, rows: Rows) -> None:
    home = opened(supabase_url="")
    job = home.begin(done=60)
    home.mirror.start()
    assert home.mirror.state().state == "off"
    later = opened()
    jobs = [home.begin(f"lora-{number}") for number, home in enumerate([later] * 3)]
    later.mirror.start()
    assert later.mirror.flush(PATIENCE)
    ids = [later.there("job", each.id) for each in jobs]
    assert rows("select count(*) from training_jobs where id::text = any(%s)", ids) == [(3,)]
    assert rows(JOB, home.there("job", job.id)) == []


def test_many_steps_cost_few_requests(opened: Open, rows: Rows) -> None:
    network = Faulty({})
    home = opened(transport=network)
    job = home.begin(steps=500, done=300)
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    count = "select count(*), max(seq) from job_events where job_id = %s"
    assert rows(count, home.there("job", job.id)) == [(302, 302)]
    assert network.requests < 20


def test_an_account_writes_its_own_rows(opened: Open, server: Server, rows: Rows) -> None:
    user = server.user("ann@example.org")
    home = opened(supabase_key=server.anon_key, supabase_email=user.email, supabase_password=user.password)
    server.accounts.seconds = 30  # as good as over: it signs in each time
    job = home.begin(done=2)
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    owner = "select owner_id::text from training_jobs where id = %s"
    assert rows(owner, home.there("job", job.id)) == [(user.id,)]
    server.accounts.seconds = -5  # the next token is expired when it comes
    home.store.append(job.id, step(3))
    until(lambda: home.mirror.state().state == "paused")
    server.accounts.seconds = 3600
    assert home.mirror.flush(PATIENCE)
    assert rows(JOB, home.there("job", job.id))[0][2] == 3


def test_from_the_secret_key_to_an_account(opened: Open, server: Server, rows: Rows) -> None:
    """What the key has written, the account may not change: it writes rows of its own."""
    home = opened()
    job = home.begin(done=2)
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    user = server.user("gus@example.org")
    account = {"supabase_email": user.email, "supabase_password": user.password}
    settings = {"supabase_url": server.url, "supabase_key": server.anon_key, **account}
    home.mirror.close()
    with open_home(home.settings.home.parent, **settings) as same:
        same.mirror.start()
        assert same.mirror.flush(PATIENCE)
        assert same.there("job", job.id) != home.there("job", job.id)
        for each, owner in ((home, None), (same, user.id)):
            sql = "select owner_id::text, step from training_jobs where id = %s"
            assert rows(sql, each.there("job", job.id)) == [(owner, 2)]


def test_a_wrong_password_pauses_and_says_so_without_it(opened: Open, server: Server) -> None:
    user = server.user("bob@example.org")
    home = opened(supabase_key=server.anon_key, supabase_email=user.email, supabase_password="not-the-word")
    home.begin()
    home.mirror.start()
    state = until(lambda: home.mirror.state() if home.mirror.state().state == "paused" else None)
    assert "sign-in" in state.reason
    assert "SUPABASE_PASSWORD" in state.reason
    assert "not-the-word" not in state.reason


def test_missing_tables_pause_all_until_they_are_there(opened: Open, postgres: Postgres, rows: Rows) -> None:
    home = opened()
    job = home.begin(done=2)
    with postgres.connect() as connection:
        connection.execute("alter table loras rename to hidden")
        try:
            home.mirror.start()
            state = until(lambda: home.mirror.state() if home.mirror.state().state == "paused" else None)
            assert "migrations" in state.reason
            assert state.waiting >= 4
            assert home.outbox.dead_letters() == []
        finally:
            connection.execute("alter table hidden rename to loras")
    assert home.mirror.flush(PATIENCE)
    assert rows(JOB, home.there("job", job.id))[0][0] == "running"


def test_a_wrong_key_pauses(opened: Open) -> None:
    home = opened(supabase_key="sb_secret_wrong")
    home.begin()
    home.mirror.start()
    state = until(lambda: home.mirror.state() if home.mirror.state().state == "paused" else None)
    assert "key" in state.reason
    assert "sb_secret_wrong" not in state.reason


def test_events_wait_for_their_job_and_none_is_lost(opened: Open, postgres: Postgres, rows: Rows) -> None:
    """A first version gave up events whose job was still on its way, and lost 84 of 600."""
    home = opened()
    job = home.begin(steps=100, done=80)
    there = home.there("job", job.id)
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    rows("delete from training_jobs where id = %s returning id", there)
    for number in range(81, 91):
        home.store.append(job.id, step(number, 100))
    with postgres.connect() as connection:
        # The job is refused for a while: its events have no parent.
        connection.execute(f"alter table training_jobs add constraint no check (id <> '{there}') not valid")
        home.store.append(job.id, step(91, 100))
        until(lambda: home.outbox.dead_letters())
        assert {letter.kind for letter in home.outbox.dead_letters()} == {"job"}
        connection.execute("alter table training_jobs drop constraint no")
    home.store.append(job.id, step(92, 100))
    assert home.mirror.flush(PATIENCE)
    seqs = {seq for (seq,) in rows("select seq from job_events where job_id = %s", there)}
    assert seqs >= set(range(83, 95))


def test_one_bad_row_does_not_hold_up_the_others(
    opened: Open, rows: Rows, caplog: pytest.LogCaptureFixture
) -> None:
    home = opened()
    jobs = [home.begin(f"lora-{number}") for number in range(7)]
    bad = jobs[3]
    home.database.change("UPDATE jobs SET step = -1, revision = revision + 1 WHERE id = ?", (bad.id,))
    home.mirror.start()
    until(lambda: home.outbox.dead_letters())
    until(lambda: home.outbox.count(("lora", "job")) == 0)
    there = [home.there("job", job.id) for job in jobs]
    found = {key for (key,) in rows("select id::text from training_jobs where id::text = any(%s)", there)}
    assert found == set(there) - {home.there("job", bad.id)}
    (letter,) = home.outbox.dead_letters()
    assert (letter.kind, letter.key) == ("job", bad.id)
    assert "check" in letter.error
    assert home.mirror.state().refused == 1
    home.store.append(bad.id, step(1))  # the next state is a good one, and its events were kept
    assert home.mirror.flush(PATIENCE)
    assert rows(JOB, home.there("job", bad.id))[0][2] == 1
    assert home.mirror.state().refused == 0


def test_what_is_removed_here_is_removed_there(opened: Open, rows: Rows) -> None:
    home = opened()
    home.finish(home.begin())
    picture = home.draw("a cat", "cat")
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    image = "select lora_id::text, prompt, seed, path from generated_images where id = %s"
    lora_id = home.there("lora", "cat")
    assert rows(image, home.there("image", picture)) == [(lora_id, "a cat", 7, None)]
    home.gallery.delete_image(picture)
    home.gallery.delete_lora("cat")
    assert home.mirror.flush(PATIENCE)
    assert rows(image, home.there("image", picture)) == []
    status = "select status::text from loras where id = %s"
    assert rows(status, lora_id) == [("archived",)]


def test_a_resumed_training_is_told_on(opened: Open, rows: Rows) -> None:
    home = opened()
    job = home.begin(done=3)
    home.store.append(job.id, Stopped(step=3))
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    assert rows(JOB, home.there("job", job.id))[0][0] == "stopped"
    home.store.append(job.id, Paused(step=3))  # what can be resumed
    home.store.resume(job.id)
    assert home.mirror.flush(PATIENCE)
    status, *_, run = rows(JOB, home.there("job", job.id))[0]
    assert (status, run) == ("queued", 2)


def test_wishes_from_there_are_granted_here(opened: Open, postgres: Postgres, rows: Rows) -> None:
    home = opened()
    job = home.queue.submit(home.config(steps=50))
    home.queue.start()
    home.mirror.start()
    home.worker.go(2)
    there = home.there("job", job.id)
    until(lambda: home.queue.get(job.id).step == 2)
    until(lambda: rows(JOB, there))
    rows("update training_jobs set desired_state = 'stop' where id = %s returning id", there)
    until(lambda: home.queue.get(job.id).status == JobStatus.STOPPED)
    wish = "select desired_state::text, status::text from training_jobs where id = %s"
    until(lambda: rows(wish, there) == [("none", "stopped")])


def test_a_waiting_training_is_paused_and_resumed_from_there(opened: Open, rows: Rows) -> None:
    home = opened()
    job = home.queue.submit(home.config())
    home.mirror.start()
    there = home.there("job", job.id)
    until(lambda: rows(JOB, there))
    wish = "update training_jobs set desired_state = %s where id = %s returning id"
    told = "select desired_state::text, status::text from training_jobs where id = %s"
    rows(wish, "pause", there)
    until(lambda: rows(told, there) == [("none", "paused")])
    rows(wish, "resume", there)
    until(lambda: rows(told, there) == [("none", "queued")])
    assert home.queue.get(job.id).run == 2


def test_a_program_that_runs_one_training_grants_no_other_wish(opened: Open, rows: Rows) -> None:
    """As `lora-studio train` does, beside a page that runs on the same home folder."""
    home = opened()
    first, second = (home.queue.submit(home.config(name)) for name in ("cat", "dog"))
    home.mirror.start(only=first.id)
    assert home.mirror.flush(PATIENCE)
    for job in (first, second):
        there = home.there("job", job.id)
        rows("update training_jobs set desired_state = 'stop' where id = %s returning id", there)
    until(lambda: home.queue.get(first.id).status == JobStatus.STOPPED)
    before = home.mirror._looks
    until(lambda: home.mirror._looks > before + 2)
    assert home.queue.get(second.id).status == JobStatus.QUEUED


def test_a_wish_that_can_not_be_granted_is_taken_back(opened: Open, rows: Rows) -> None:
    home = opened()
    job = home.begin()
    home.store.append(job.id, Failed(message="No."))
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    there = home.there("job", job.id)
    rows("update training_jobs set desired_state = 'pause' where id = %s returning id", there)
    until(lambda: rows("select desired_state::text from training_jobs where id = %s", there) == [("none",)])
    assert home.queue.get(job.id).status == JobStatus.FAILED


def test_two_machines_do_not_disturb_each_other(opened: Open, rows: Rows) -> None:
    """The same names, the same project, the same key; a wish for one of them."""
    homes = [opened(), opened()]
    jobs = []
    for home in homes:
        jobs.append(home.queue.submit(home.config("cat", steps=50)))
        home.queue.start()
        home.mirror.start()
        home.worker.go(2)
    first, second = homes
    for home, job in zip(homes, jobs, strict=True):
        until(lambda home=home, job=job: rows(JOB, home.there("job", job.id)))
    rows(
        "update training_jobs set desired_state = 'stop' where id = %s returning id",
        first.there("job", jobs[0].id),
    )
    until(lambda: first.queue.get(jobs[0].id).status == JobStatus.STOPPED)
    assert second.queue.get(jobs[1].id).status == JobStatus.RUNNING
    assert all(home.outbox.dead_letters() == [] for home in homes)
    names = "select count(*) from loras where slug = 'cat' and worker_id = any(%s)"
    assert rows(names, [home.machine for home in homes]) == [(2,)]


def test_a_machine_taken_for_dead_speaks_again(opened: Open, rows: Rows) -> None:
    home = opened()
    job = home.begin(done=2)
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    there = home.there("job", job.id)
    until(lambda: home.mirror._looks)
    old = "update training_jobs set seen_at = now() - interval '1 hour' where id = %s returning id"
    rows(old, there)
    other = opened()
    other.mirror.start()  # its first look clears up
    until(lambda: rows(JOB, there)[0][0] == "interrupted")
    home.store.append(job.id, step(3))
    assert home.mirror.flush(PATIENCE)
    assert rows(JOB, there)[0][:3:2] == ("running", 3)


def test_a_project_that_can_not_be_reached_is_caught_up_with(
    opened: Open, server: Server, rows: Rows
) -> None:
    home = opened()
    server.stop()
    try:
        job = home.begin(done=3)
        home.mirror.start()
        state = until(lambda: home.mirror.state() if home.mirror.state().reason else None)
        assert (state.state, "reached" in state.reason) == ("waiting", True)
    finally:
        server.start()
    assert home.mirror.flush(PATIENCE)
    assert rows(JOB, home.there("job", job.id))[0][2] == 3
    assert home.mirror.state() == replace(state, state="synced", waiting=0, reason="")


def test_a_project_that_can_not_be_asked_is_not_called_synced(opened: Open, server: Server) -> None:
    home = opened()
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    server.stop()
    try:
        state = until(lambda: home.mirror.state() if home.mirror.state().reason else None)
        assert (state.state, state.waiting) == ("waiting", 0)
    finally:
        server.start()
    assert home.mirror.flush(PATIENCE)


def test_another_project_gets_everything(opened: Open, rows: Rows) -> None:
    home = opened()
    job = home.begin(done=3)
    home.mirror.start()
    assert home.mirror.flush(PATIENCE)
    home.outbox.aim_at("elsewhere")
    assert home.mirror.state().waiting == 7
    assert home.mirror.flush(PATIENCE)
    assert rows(JOB, home.there("job", job.id))[0][2] == 3


def test_closing_sends_the_last_word(opened: Open, rows: Rows) -> None:
    home = opened(pace=Pace(look=30.0))
    home.mirror.start()
    job = home.begin(done=1)
    home.store.append(job.id, Stopped(step=1))
    home.mirror.close()
    assert rows(JOB, home.there("job", job.id))[0][0] == "stopped"


def test_nothing_of_supabase_is_loaded_where_it_is_not_set_up() -> None:
    program = (
        "import sys\nfrom lora_studio.studio import open_studio\nstudio = open_studio()\nstudio.close()\n"
        "print([name for name in ('supabase', 'postgrest', 'storage3', 'realtime') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_mirror_that_is_off_says_so_to_who_wants_to_fetch(opened: Open) -> None:
    home = opened(supabase_url="")
    assert home.mirror.team() == ()
    with pytest.raises(StoreError, match="not set up"):
        home.mirror.fetch("00000000-0000-4000-8000-000000000001")
