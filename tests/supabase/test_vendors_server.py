"""The mirror itself over the vendor's lightweight server, which was written without us in mind."""

from __future__ import annotations

from pathlib import Path

from lora_studio.records import JobStatus
from tests.support.supabase.clients import clients_of
from tests.support.supabase.mirroring import open_home
from tests.support.supabase.vendor import Lite
from tests.support.waiting import PATIENCE, until


def test_a_training_is_mirrored_watched_and_stopped_there(lite: Lite, tmp_path: Path) -> None:
    facts = {"supabase_url": lite.url, "supabase_key": lite.service_key}
    with open_home(tmp_path, **facts) as home, clients_of(lite) as clients:
        job = home.begin(done=70)
        home.draw("a dragon")
        home.mirror.start()
        assert home.mirror.flush(PATIENCE)
        assert home.outbox.dead_letters() == []

        def there(table: str, columns: str) -> list[dict[str, object]]:
            found = clients.service.table(table).select(columns).eq("worker_id", home.machine).execute().data
            return [dict(row) for row in found]

        row = there("training_jobs", "id,status,step,name")[0]
        assert row == {"id": home.there("job", job.id), "status": "running", "step": 70, "name": "Cat"}
        assert [picture["prompt"] for picture in there("generated_images", "prompt")] == ["a dragon"]
        events = clients.service.table("job_events").select("seq").eq("job_id", str(row["id"])).order("seq")
        assert [event["seq"] for event in events.execute().data] == list(range(1, 73))
        wish = clients.service.table("training_jobs").update({"desired_state": "stop"})
        wish.eq("id", str(row["id"])).execute()
        until(lambda: home.store.get(job.id).status is JobStatus.STOPPING)
