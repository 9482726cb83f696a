"""The database's schema as a list of steps. Step n leads from version n to n + 1 and never changes again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable


def _first_tables(connection: sqlite3.Connection) -> None:
    """Tables of jobs, events and the library. `jobs.number` gives the order of the queue; `train_*` and
    `step_seconds` carry the estimate of the time left. Library rows keep their record as JSON; the columns
    beside it are for searching and sorting."""
    for statement in (
        """CREATE TABLE jobs (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
            status TEXT NOT NULL, config TEXT NOT NULL, created_at REAL NOT NULL, started_at REAL,
            finished_at REAL, heartbeat_at REAL, progress REAL NOT NULL DEFAULT 0,
            step INTEGER NOT NULL DEFAULT 0, total_steps INTEGER NOT NULL DEFAULT 0,
            phase TEXT NOT NULL DEFAULT '', loss REAL, seconds_left REAL, message TEXT NOT NULL DEFAULT '',
            hint TEXT NOT NULL DEFAULT '', result_path TEXT NOT NULL DEFAULT '',
            revision INTEGER NOT NULL DEFAULT 0, owner TEXT NOT NULL DEFAULT '',
            events INTEGER NOT NULL DEFAULT 0, train_started_at REAL, train_seconds REAL NOT NULL DEFAULT 0,
            train_steps INTEGER NOT NULL DEFAULT 0, step_seconds REAL)""",
        "CREATE INDEX jobs_by_status ON jobs(status, number)",
        """CREATE TABLE events (
            job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, sequence INTEGER NOT NULL,
            at REAL NOT NULL, kind TEXT NOT NULL, json TEXT NOT NULL, step INTEGER, loss REAL,
            PRIMARY KEY (job_id, sequence)) WITHOUT ROWID""",
        "CREATE INDEX losses ON events(job_id, kind, step, loss) WHERE kind = 'StepDone'",
        "CREATE INDEX other_events ON events(job_id, sequence, kind) WHERE kind <> 'StepDone'",
        """CREATE TABLE loras (
            slug TEXT PRIMARY KEY, id TEXT NOT NULL, created_at REAL NOT NULL, search TEXT NOT NULL,
            fingerprint TEXT NOT NULL, record TEXT NOT NULL)""",
        """CREATE TABLE images (
            path TEXT PRIMARY KEY, id TEXT NOT NULL, created_at REAL NOT NULL, search TEXT NOT NULL,
            fingerprint TEXT NOT NULL, record TEXT NOT NULL)""",
        "CREATE INDEX images_by_id ON images(id)",
        "CREATE INDEX images_by_age ON images(created_at)",
        """CREATE TABLE datasets (
            id TEXT PRIMARY KEY, created_at REAL NOT NULL, record TEXT NOT NULL)""",
    ):
        connection.execute(statement)


def _resuming(connection: sqlite3.Connection) -> None:
    """States, forks, and `commands`, for running jobs until they take them: any process may write some."""
    for statement in (
        "ALTER TABLE jobs ADD COLUMN state_step INTEGER",
        "ALTER TABLE jobs ADD COLUMN fork_of TEXT NOT NULL DEFAULT ''",
        """CREATE TABLE commands (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, command TEXT NOT NULL)""",
    ):
        connection.execute(statement)


def _mirroring(connection: sqlite3.Connection) -> None:
    """The outbox of the mirror, with a row for each thing that the mirror is to have: `version` rises with
    every change, `sent` is the version that the mirror has acknowledged; for a job's events both are sequence
    numbers. Triggers write it, so it is in the transaction of the change whoever makes that; existing rows
    are put in now. `note` is for the sender, `dead_letters` holds versions that the mirror refused for good,
    `mirror` facts about the sending itself."""
    for statement in (
        "ALTER TABLE jobs ADD COLUMN run INTEGER NOT NULL DEFAULT 1",
        """CREATE TABLE outbox (
            kind TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 0,
            sent INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
            next_at REAL NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (kind, key)) WITHOUT ROWID""",
        "CREATE INDEX outbox_waiting ON outbox(kind, next_at) WHERE version > sent",
        """CREATE TABLE dead_letters (
            kind TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, at REAL NOT NULL,
            error TEXT NOT NULL, PRIMARY KEY (kind, key, version)) WITHOUT ROWID""",
        "CREATE TABLE mirror (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        *_outbox_triggers(),
    ):
        connection.execute(statement)
    slug = "json_extract(config, '$.output.output_name')"
    for kind, key, version, table in (
        *(("lora", slug, "1", "jobs WHERE json_valid(config)"), ("job", "id", "1", "jobs")),
        *(("events", "job_id", "max(sequence)", "events GROUP BY job_id"), ("file", "slug", "1", "loras")),
        *(("lora", "slug", "1", "loras"), ("image", "id", "1", "images"), ("picture", "id", "1", "images")),
    ):
        connection.execute(
            "INSERT OR IGNORE INTO outbox(kind, key, version)"
            f" SELECT '{kind}', {key} AS key, {version} FROM {table}"
            f" {'AND' if 'WHERE' in table else 'WHERE' if 'GROUP' not in table else 'HAVING'} key IS NOT NULL"
        )


def _outbox_triggers() -> list[str]:
    """Triggers that fill the outbox. A heartbeat alone counts once in ten seconds. No ON CONFLICT in a
    trigger: the one of the statement that fires it would take its place."""

    def changed(kind: str, key: str, version: str = "version + 1") -> str:
        return (
            f"INSERT INTO outbox(kind, key) SELECT '{kind}', {key} WHERE {key} IS NOT NULL AND NOT EXISTS"
            f" (SELECT 1 FROM outbox WHERE kind = '{kind}' AND key = {key});"
            f" UPDATE outbox SET version = {version} WHERE kind = '{kind}' AND key = {key};"
        )

    slug = "json_extract(NEW.config, '$.output.output_name')"
    beat = "CAST(coalesce({}.heartbeat_at, 0) / 10 AS INTEGER)"
    return [
        f"CREATE TRIGGER job_made AFTER INSERT ON jobs BEGIN {changed('lora', slug)}"
        f" {changed('job', 'NEW.id')} END",
        "CREATE TRIGGER job_changed AFTER UPDATE ON jobs WHEN NEW.revision <> OLD.revision"
        f" OR {beat.format('NEW')} <> {beat.format('OLD')} BEGIN {changed('job', 'NEW.id')} END",
        "CREATE TRIGGER job_turned AFTER UPDATE OF status ON jobs WHEN NEW.status <> OLD.status"
        f" BEGIN {changed('lora', slug)} END",
        "CREATE TRIGGER event_made AFTER INSERT ON events"
        f" BEGIN {changed('events', 'NEW.job_id', 'NEW.sequence')} END",
        f"CREATE TRIGGER lora_put AFTER INSERT ON loras BEGIN {changed('lora', 'NEW.slug')}"
        f" {changed('file', 'NEW.slug')} END",
        f"CREATE TRIGGER lora_removed AFTER DELETE ON loras BEGIN {changed('lora', 'OLD.slug')} END",
        "CREATE TRIGGER image_replaced BEFORE INSERT ON images BEGIN UPDATE outbox SET version = version + 1"
        " WHERE kind = 'image' AND key IN (SELECT id FROM images WHERE path = NEW.path); END",
        f"CREATE TRIGGER image_put AFTER INSERT ON images BEGIN {changed('image', 'NEW.id')}"
        f" {changed('picture', 'NEW.id')} END",
        f"CREATE TRIGGER image_removed AFTER DELETE ON images BEGIN {changed('image', 'OLD.id')} END",
    ]


def _lasting(connection: sqlite3.Connection) -> None:
    """`earlier_seconds`, the time of a run's parts before its last Resume."""
    connection.execute("ALTER TABLE jobs ADD COLUMN earlier_seconds REAL NOT NULL DEFAULT 0")


def _light_lists(connection: sqlite3.Connection) -> None:
    """Columns for lists, and one for a LoRA's metadata, the last, which is read for itself alone. The rows
    are made again from the files, which also heals rows of files with nonsense in their metadata."""
    for statement in (
        "ALTER TABLE loras ADD COLUMN title TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE loras ADD COLUMN preview TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE loras ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}'",
        "DELETE FROM loras",
        "CREATE INDEX loras_by_id ON loras(id)",
    ):
        connection.execute(statement)


def _people(connection: sqlite3.Connection) -> None:
    """People with their roles, invites, owners of things, and the use that quotas count. `limits` is JSON;
    sessions that began before `sessions_from` are over. Of an invite only its token's hash is kept. `owner`
    is empty for the person at the machine: all that is there now stays visible to everybody, as it was."""
    for statement in (
        """CREATE TABLE people (
            name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, created_at REAL NOT NULL,
            sessions_from REAL NOT NULL DEFAULT 0, limits TEXT NOT NULL DEFAULT '{}',
            note TEXT NOT NULL DEFAULT '') WITHOUT ROWID""",
        """CREATE TABLE invites (
            id TEXT PRIMARY KEY, token_hash TEXT NOT NULL UNIQUE, role TEXT NOT NULL,
            made_by TEXT NOT NULL DEFAULT '', note TEXT NOT NULL DEFAULT '', created_at REAL NOT NULL,
            expires_at REAL NOT NULL, uses INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,
            revoked_at REAL) WITHOUT ROWID""",
        """CREATE TABLE owners (
            kind TEXT NOT NULL, key TEXT NOT NULL, owner TEXT NOT NULL, shared INTEGER NOT NULL DEFAULT 0,
            at REAL NOT NULL DEFAULT 0, PRIMARY KEY (kind, key, owner)) WITHOUT ROWID""",
        "CREATE INDEX owners_by_name ON owners(owner, kind)",
        """CREATE TABLE spent (
            name TEXT NOT NULL, day TEXT NOT NULL, images INTEGER NOT NULL DEFAULT 0,
            steps INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (name, day)) WITHOUT ROWID""",
        "CREATE TABLE access_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    ):
        connection.execute(statement)
    for kind, key, table in (
        *(("job", "id", "jobs"), ("dataset", "id", "datasets"), ("image", "path", "images")),
        # The step before has emptied the table of LoRAs; the outbox still names them.
        *(("lora", "slug", "loras"), ("lora", "key", "outbox WHERE kind = 'lora'")),
    ):
        connection.execute(
            "INSERT OR IGNORE INTO owners(kind, key, owner, shared)"
            f" SELECT '{kind}', {key}, '', 1 FROM {table}"
        )


def _owned_content(connection: sqlite3.Connection) -> None:
    """`content` is the hash of the LoRA that owners of a slug have: another one under it isn't theirs. Empty
    where none has come yet, as while it is trained."""
    connection.execute("ALTER TABLE owners ADD COLUMN content TEXT NOT NULL DEFAULT ''")
    connection.execute(
        "UPDATE owners SET content = coalesce((SELECT id FROM loras WHERE slug = key), '')"
        " WHERE kind = 'lora'"
    )


def _trained_steps(connection: sqlite3.Connection) -> None:
    """The steps that each person's trainings do, counted by day (UTC) as they are done."""
    whose = "SELECT owner FROM owners WHERE kind = 'job' AND key = NEW.id AND owner <> ''"
    connection.execute(
        "CREATE TRIGGER job_stepped AFTER UPDATE OF step ON jobs WHEN NEW.step > OLD.step BEGIN"
        f" INSERT INTO spent(name, day) SELECT owner, date('now') FROM ({whose}) WHERE NOT EXISTS"
        " (SELECT 1 FROM spent WHERE name = owner AND day = date('now'));"
        " UPDATE spent SET steps = steps + NEW.step - OLD.step"
        f" WHERE day = date('now') AND name IN ({whose}); END"
    )


def _revisions(connection: sqlite3.Connection) -> None:
    """`revisions` counts the changes of each table that an open page shows, so that "has anything changed" is
    a few numbers, however much there is. A heartbeat is no change."""
    connection.execute(
        "CREATE TABLE revisions (name TEXT PRIMARY KEY, value INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
    )
    for table in ("jobs", "loras", "images", "datasets", "owners", "people"):
        connection.execute("INSERT INTO revisions(name) VALUES (?)", (table,))
        for change in ("INSERT", "UPDATE", "DELETE"):
            is_jobs = table == "jobs" and change == "UPDATE"
            connection.execute(
                f"CREATE TRIGGER {table}_{change.lower()}_counted AFTER {change} ON {table}"
                f" {'WHEN NEW.revision <> OLD.revision' if is_jobs else ''} BEGIN"
                f" UPDATE revisions SET value = value + 1 WHERE name = '{table}'; END"
            )


def _image_loras(connection: sqlite3.Connection) -> None:
    """The LoRAs that each picture was drawn with, kept by triggers from the pictures' rows."""
    slugs = "json_each(CASE WHEN json_valid({0}) THEN {0} ELSE '{{}}' END, '$.lora_slugs')"
    for statement in (
        """CREATE TABLE image_loras (
            slug TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (slug, path)) WITHOUT ROWID""",
        "CREATE INDEX image_loras_by_path ON image_loras(path)",
        "INSERT INTO image_loras(slug, path) SELECT DISTINCT value, images.path FROM images,"
        f" {slugs.format('images.record')} WHERE value IS NOT NULL",
        # Before, since a row that is replaced fires no trigger of a deletion.
        "CREATE TRIGGER image_loras_put BEFORE INSERT ON images BEGIN"
        " DELETE FROM image_loras WHERE path = NEW.path;"
        " INSERT INTO image_loras(slug, path) SELECT DISTINCT value, NEW.path FROM"
        f" {slugs.format('NEW.record')} WHERE value IS NOT NULL; END",
        "CREATE TRIGGER image_loras_removed AFTER DELETE ON images BEGIN"
        " DELETE FROM image_loras WHERE path = OLD.path; END",
    ):
        connection.execute(statement)


def _places(connection: sqlite3.Connection) -> None:
    """`place` stands in for `number` in the order of those that wait, once somebody has moved one."""
    connection.execute("ALTER TABLE jobs ADD COLUMN place REAL")


def _removed_trainings(connection: sqlite3.Connection) -> None:
    """`removed` is the trash's token of a training taken out of the history, else empty."""
    connection.execute("ALTER TABLE jobs ADD COLUMN removed TEXT NOT NULL DEFAULT ''")


def _saved_settings(connection: sqlite3.Connection) -> None:
    """Settings of trainings that people keep by name; those that were deleted wait for an undo."""
    connection.execute(
        """CREATE TABLE saved_settings (
            id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, base TEXT NOT NULL DEFAULT '',
            settings TEXT NOT NULL, at REAL NOT NULL, deleted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"""
    )
    connection.execute("CREATE INDEX saved_settings_by_owner ON saved_settings(owner, deleted)")


def _favourite_images(connection: sqlite3.Connection) -> None:
    """Pictures that people like, by content hash, so that a new reading of folders leaves them."""
    connection.execute("CREATE TABLE favourite_images (id TEXT PRIMARY KEY) WITHOUT ROWID")
    for change in ("INSERT", "DELETE"):
        connection.execute(
            f"CREATE TRIGGER favourite_images_{change.lower()}_counted AFTER {change} ON favourite_images"
            " BEGIN UPDATE revisions SET value = value + 1 WHERE name = 'images'; END"
        )


def _captionings(connection: sqlite3.Connection) -> None:
    """The last captioning of each set of pictures, as the process `owner` wrote it. `facts` is JSON."""
    connection.execute(
        """CREATE TABLE captionings (
            dataset_id TEXT PRIMARY KEY, owner TEXT NOT NULL, facts TEXT NOT NULL, at REAL NOT NULL)
            WITHOUT ROWID"""
    )


def _steady_lists(connection: sqlite3.Connection) -> None:
    """Lists that cost an open page the same at each step of a training, with any history: `history` counts
    the changes of trainings that have ended. Indices give the LoRAs by age, the last training that ended, and
    pictures of one content without their rows."""
    ended = "{}.status NOT IN ('queued', 'running', 'stopping', 'pausing', 'paused')"
    new, old = ended.format("NEW"), ended.format("OLD")
    connection.execute("INSERT INTO revisions(name) VALUES ('history')")
    for change, counts in {
        "INSERT": new,
        "UPDATE": f"NEW.revision <> OLD.revision AND ({new} OR {old})",
        "DELETE": old,
    }.items():
        connection.execute(
            f"CREATE TRIGGER history_{change.lower()}_counted AFTER {change} ON jobs WHEN {counts} BEGIN"
            " UPDATE revisions SET value = value + 1 WHERE name = 'history'; END"
        )
    for statement in (
        "CREATE INDEX loras_by_age ON loras(created_at DESC, slug, title)",
        "CREATE INDEX jobs_by_end ON jobs(finished_at)",
        "DROP INDEX images_by_id",
        "CREATE INDEX images_by_id ON images(id, path, created_at)",
    ):
        connection.execute(statement)


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _first_tables,
    _resuming,
    _mirroring,
    _lasting,
    _light_lists,
    _people,
    _owned_content,
    _trained_steps,
    _revisions,
    _image_loras,
    _places,
    _removed_trainings,
    _saved_settings,
    _favourite_images,
    _captionings,
    _steady_lists,
)
