"""What real supabase-py is told by the Data API, case by case: the same for our server and for the vendor's.

A case returns what a caller would see of it, in JSON's types; an error is `(code,)`. `DIFFERENCES` is the
written list of where the vendor's lightweight server is known to differ from the hosted service, and so from
ours.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

from postgrest.exceptions import APIError
from postgrest.types import ReturnMethod
from supabase import Client

from tests.support.supabase.clients import Clients

Case = Callable[[Clients], Any]
EXPECTED: dict[str, tuple[Case, Any]] = {}
DIFFERENCES: dict[str, Any] = {
    # A timestamp comes with a blank in place of the T of ISO 8601, and hours alone as the zone.
    "timestamps_are_iso": False,
    # Errors of checks and of triggers lose their SQLSTATE.
    "a_check_has_its_code": ("SUP",),
    "leaving_a_final_state_has_its_code": ("SUP",),
    # It grants the tables to everybody by itself, so that only the policies are left to say no.
    "anon_reads_nothing": [],
    "events_are_not_changed": [],
    # Rows of one request that differ in their keys: it always takes defaults, and then answers null for them.
    "rows_that_differ_in_their_keys_take_defaults": [
        {"name": "a", "phase": None},
        {"name": "b", "phase": "train"},
    ],
    "rows_that_differ_in_their_keys_are_null_else": 2,
}


def case(expected: Any) -> Callable[[Case], Case]:
    def keep(function: Case) -> Case:
        EXPECTED[function.__name__] = (function, expected)
        return function

    return keep


def observe(function: Case, clients: Clients) -> Any:
    try:
        return function(clients)
    except APIError as error:
        return (error.code,)


def lora(client: Client, **values: Any) -> dict[str, Any]:
    row = {"id": str(uuid4()), "name": "Dragon", "slug": uuid4().hex, **values}
    return dict(client.table("loras").insert(row).execute().data[0])


def job(client: Client, **values: Any) -> str:
    row = {"id": str(uuid4()), "seq": 5, "status": "running", **values}
    client.table("training_jobs").upsert([row], on_conflict="id", returning=ReturnMethod.minimal).execute()
    return str(row["id"])


def upsert(client: Client, table: str, rows: list[dict[str, Any]], **how: Any) -> list[Any]:
    return client.table(table).upsert(rows, **how).execute().data


def read(client: Client, job_id: str, columns: str) -> Any:
    return client.table("training_jobs").select(columns).eq("id", job_id).execute().data


@case(True)
def an_insert_gives_the_row_with_its_defaults(clients: Clients) -> Any:
    row = lora(clients.user)
    return row["owner_id"] == str(clients.user_id) and row["status"] == "training" and row["metadata"] == {}


@case(True)
def timestamps_are_iso(clients: Clients) -> Any:
    text = lora(clients.user)["created_at"]
    assert datetime.fromisoformat(text).tzinfo is not None
    return "T" in text and text.endswith("+00:00")


@case(
    [{"progress": 12.5, "step": 7, "loss": 0.25, "seq": 5, "config": {"a": [1, None]}, "message": "na, Ü 龍"}]
)
def values_come_back_as_they_went(clients: Clients) -> Any:
    row = {"progress": 12.5, "step": 7, "loss": 0.25, "config": {"a": [1, None]}, "message": "na, Ü 龍"}
    return read(clients.user, job(clients.user, **row), "progress,step,loss,seq,config,message")


@case([])
def minimal_returns_nothing(clients: Clients) -> Any:
    rows = [{"id": str(uuid4())}]
    return upsert(clients.user, "training_jobs", rows, returning=ReturnMethod.minimal, on_conflict="id")


@case([{"status": "paused", "step": 9, "name": "kept"}])
def an_upsert_changes_only_its_columns(clients: Clients) -> Any:
    job_id = job(clients.user, name="kept")
    upsert(clients.user, "training_jobs", [{"id": job_id, "seq": 6, "status": "paused", "step": 9}])
    return read(clients.user, job_id, "status,step,name")


@case([[], [{"status": "running", "seq": 5}]])
def what_comes_late_changes_nothing(clients: Clients) -> Any:
    job_id = job(clients.user)
    late = upsert(clients.user, "training_jobs", [{"id": job_id, "seq": 4, "status": "queued"}])
    return [late, read(clients.user, job_id, "status,seq")]


@case(("23514",))
def leaving_a_final_state_has_its_code(clients: Clients) -> Any:
    job_id = job(clients.user, status="failed")
    return upsert(clients.user, "training_jobs", [{"id": job_id, "seq": 6, "status": "running"}])


@case([1, 2, ["first", "b", "c"]])
def events_that_are_there_stay(clients: Clients) -> Any:
    job_id = job(clients.user)

    def rows(*said: tuple[int, str]) -> list[dict[str, Any]]:
        return [{"job_id": job_id, "seq": seq, "kind": "Noted", "message": text} for seq, text in said]

    how = {"on_conflict": "job_id,seq", "ignore_duplicates": True}
    first = upsert(clients.user, "job_events", rows((1, "first")), **how)
    more = upsert(clients.user, "job_events", rows((1, "again"), (2, "b"), (3, "c")), **how)
    found = clients.user.table("job_events").select("message").eq("job_id", job_id).order("seq").execute()
    return [len(first), len(more), [row["message"] for row in found.data]]


@case([{"name": "a", "phase": ""}, {"name": "b", "phase": "train"}])
def rows_that_differ_in_their_keys_take_defaults(clients: Clients) -> Any:
    rows = [{"id": str(uuid4()), "name": "a"}, {"id": str(uuid4()), "name": "b", "phase": "train"}]
    made = upsert(clients.user, "training_jobs", rows, default_to_null=False)
    return [{"name": row["name"], "phase": row["phase"]} for row in made]


@case(("23502",))
def rows_that_differ_in_their_keys_are_null_else(clients: Clients) -> Any:
    rows = [{"id": str(uuid4()), "name": "a"}, {"id": str(uuid4()), "name": "b", "phase": "train"}]
    return len(upsert(clients.user, "training_jobs", rows))


@case([{"desired_state": "pause", "seq": 5}])
def a_wish_is_written_beside_the_status(clients: Clients) -> Any:
    job_id = job(clients.user)
    clients.user.table("training_jobs").update({"desired_state": "pause"}).eq("id", job_id).execute()
    return read(clients.user, job_id, "desired_state,seq")


@case([[], "running"])
def an_update_of_anothers_row_finds_none(clients: Clients) -> Any:
    job_id = job(clients.user)
    table = clients.other.table("training_jobs")
    found = table.update({"status": "stopped"}).eq("id", job_id).execute().data
    return [found, read(clients.user, job_id, "status")[0]["status"]]


@case([[], 1])
def a_delete_of_anothers_row_finds_none(clients: Clients) -> Any:
    job_id = job(clients.user)
    return [
        clients.other.table("training_jobs").delete().eq("id", job_id).execute().data,
        len(clients.user.table("training_jobs").delete().eq("id", job_id).execute().data),
    ]


@case([])
def anothers_rows_are_not_seen(clients: Clients) -> Any:
    return read(clients.other, job(clients.user), "*")


@case(("42501",))
def an_upsert_onto_anothers_row_is_refused(clients: Clients) -> Any:
    return upsert(clients.other, "training_jobs", [{"id": job(clients.user), "seq": 9}])


@case(("42501",))
def an_event_for_anothers_job_is_refused(clients: Clients) -> Any:
    return upsert(clients.other, "job_events", [{"job_id": job(clients.user), "seq": 1, "kind": "x"}])


@case(("42501",))
def anothers_lora_is_refused(clients: Clients) -> Any:
    return job(clients.other, lora_id=lora(clients.user)["id"])


@case(("42501",))
def events_are_not_changed(clients: Clients) -> Any:
    row = {"job_id": job(clients.user), "seq": 1, "kind": "x"}
    upsert(clients.user, "job_events", [row])
    return clients.user.table("job_events").update({"kind": "y"}).eq("job_id", row["job_id"]).execute().data


@case(("42501",))
def anon_reads_nothing(clients: Clients) -> Any:
    job(clients.user)
    return clients.anon.table("training_jobs").select("id").execute().data


@case(("42501",))
def anon_writes_nothing(clients: Clients) -> Any:
    return clients.anon.table("loras").insert({"name": "x", "slug": "x"}).execute().data


@case(1)
def the_service_sees_everybodys(clients: Clients) -> Any:
    return len(read(clients.service, job(clients.user), "id"))


@case(("42501",))
def a_user_does_not_reap(clients: Clients) -> Any:
    return clients.user.rpc("reap_stale_jobs", {"max_age": "1 hour"}).execute().data


@case(0)
def the_service_reaps(clients: Clients) -> Any:
    return clients.service.rpc("reap_stale_jobs", {"max_age": "10 years"}).execute().data


@case(("23503",))
def a_parent_that_is_not_there_has_its_code(clients: Clients) -> Any:
    row = {"job_id": str(uuid4()), "seq": 1, "kind": "x"}
    return upsert(clients.user, "job_events", [row], ignore_duplicates=True)


@case(("23505",))
def a_duplicate_has_its_code(clients: Clients) -> Any:
    row = lora(clients.user)
    return lora(clients.user, id=row["id"])


@case(("23502",))
def a_missing_value_has_its_code(clients: Clients) -> Any:
    return clients.user.table("loras").insert({"slug": uuid4().hex}).execute().data


@case(("23514",))
def a_check_has_its_code(clients: Clients) -> Any:
    return job(clients.user, progress=101)


@case(("22P02",))
def a_wrong_value_has_its_code(clients: Clients) -> Any:
    return job(clients.user, status="cancelled")


@case(("PGRST204",))
def an_unknown_column_has_its_code(clients: Clients) -> Any:
    return job(clients.user, colour="red")


@case(("42703",))
def an_unknown_filter_has_its_code(clients: Clients) -> Any:
    return clients.user.table("loras").select("id").eq("colour", "red").execute().data


@case(("PGRST205",))
def an_unknown_table_has_its_code(clients: Clients) -> Any:
    return clients.user.table("dragons").select("*").execute().data


@case(("PGRST202",))
def an_unknown_function_has_its_code(clients: Clients) -> Any:
    return clients.user.rpc("tame", {"dragon": 1}).execute().data


@case(("PGRST116",))
def one_of_none_has_its_code(clients: Clients) -> Any:
    return clients.user.table("loras").select("id").eq("id", str(uuid4())).single().execute().data


@case(("PGRST303",))
def an_expired_token_has_its_code(clients: Clients) -> Any:
    return clients.signed_in(clients.user_id, seconds=-60).table("loras").select("id").execute().data


@case((None,))
def a_key_of_nobody_has_none(clients: Clients) -> Any:
    return clients.with_key("sb_publishable_of_nobody").table("loras").select("id").execute().data


@case([["b", "c"], 5, ["a", "c"], ["c", "d", "e"], ["a", "b", "e"], ["a"], ["b", "d"]])
def rows_are_filtered_ordered_and_counted(clients: Clients) -> Any:
    mark = uuid4().hex
    rows = [
        {"id": str(uuid4()), "machine": mark, "name": name, "step": step, "loss": loss}
        for name, step, loss in (("a", 1, None), ("b", 2, 0.5), ("c", 3, None), ("d", 4, 0.5), ("e", 5, 1.0))
    ]
    upsert(clients.user, "training_jobs", rows)

    def found(**how: Any) -> Any:
        return clients.user.table("training_jobs").select("name", **how).eq("machine", mark).order("step")

    def names(query: Any) -> list[str]:
        return [row["name"] for row in query.execute().data]

    counted = found(count="exact").range(1, 2).execute()
    return [
        [row["name"] for row in counted.data],
        counted.count,
        names(found().is_("loss", "null")),
        names(found().gt("step", 2)),
        names(found().not_.in_("name", ["c", "d"])),
        names(found().or_("name.eq.a,name.eq.z").lte("step", 1)),
        names(found().eq("loss", 0.5).limit(5)),
    ]
