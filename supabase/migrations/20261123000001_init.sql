-- LoRA Studio's mirror: LoRAs, trainings, what was said while they ran, and pictures.
-- The local database is the truth; rows here are written by a studio's outbox, again and again and perhaps late,
-- so every write is an upsert under an id made locally and the triggers drop what is older than what is there.
-- Needs PostgreSQL 15 or later. Roles anon, authenticated, service_role and auth.uid() are Supabase's own.

create type public.lora_status as enum ('training', 'ready', 'failed', 'archived');
create type public.job_status as enum
  ('queued', 'running', 'stopping', 'pausing', 'paused', 'finished', 'failed', 'stopped', 'interrupted');
create type public.desired_state as enum ('none', 'stop', 'pause', 'resume');

create table public.loras (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid default auth.uid(),
  -- The home folder it came from, an id of its own: two machines may each have a LoRA called dragon.
  worker_id text not null default '',
  name text not null check (char_length(name) between 1 and 200),
  slug text not null check (char_length(slug) between 1 and 200),
  status public.lora_status not null default 'training',
  family text not null default '',
  base_model text not null default '',
  kind text not null default '',
  trigger_word text not null default '',
  network_dim int check (network_dim between 1 and 4096),
  network_alpha double precision,
  steps int not null default 0 check (steps >= 0),
  -- SHA-256 of the tensor bytes: the same LoRA has the same one on every machine.
  tensor_sha256 text check (tensor_sha256 ~ '^[0-9a-f]{64}$'),
  metadata jsonb not null default '{}',
  artifact_bucket text,
  artifact_path text,
  artifact_bytes bigint check (artifact_bytes >= 0),
  artifact_sha256 text check (artifact_sha256 ~ '^[0-9a-f]{64}$'),
  preview_path text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique nulls not distinct (owner_id, worker_id, slug)
);

create table public.training_jobs (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid default auth.uid(),
  lora_id uuid references public.loras (id) on delete set null,
  worker_id text not null default '',
  machine text not null default '',
  local_id text not null default '',
  name text not null default '',
  status public.job_status not null default 'queued',
  -- Written by people, never by the worker; back to none once the worker has done it.
  desired_state public.desired_state not null default 'none',
  progress double precision not null default 0 check (progress between 0 and 100),
  step int not null default 0 check (step >= 0),
  total_steps int not null default 0 check (total_steps >= 0),
  phase text not null default '',
  loss double precision,
  seconds_left double precision,
  message text not null default '',
  hint text not null default '',
  config jsonb not null default '{}',
  state_step int,
  -- Counts from 1 and up with every Resume; seq rises with every change of the local row, also over a Resume.
  run int not null default 1 check (run >= 1),
  seq bigint not null default 0 check (seq >= 0),
  -- By the worker's clock; seen_at is this server's, so that a machine with a wrong clock is not taken for dead.
  heartbeat_at timestamptz,
  seen_at timestamptz not null default now(),
  reaped_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (status <> 'finished' or progress = 100)
);

create table public.job_events (
  job_id uuid not null references public.training_jobs (id) on delete cascade,
  seq bigint not null,
  -- Here too, so that policies need not look for the job: it may not be there yet, see studio.is_foreign_job.
  owner_id uuid default auth.uid(),
  at timestamptz not null default now(),
  level text not null default 'info' check (level in ('debug', 'info', 'warning', 'error')),
  kind text not null,
  message text not null default '',
  data jsonb not null default '{}',
  primary key (job_id, seq)
);

create table public.generated_images (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid default auth.uid(),
  lora_id uuid references public.loras (id) on delete set null,
  job_id uuid references public.training_jobs (id) on delete set null,
  worker_id text not null default '',
  prompt text not null,
  negative_prompt text not null default '',
  params jsonb not null default '{}',
  width int check (width > 0),
  height int check (height > 0),
  seed bigint,
  sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
  -- Null as long as the file is on its machine only.
  bucket text,
  path text,
  created_at timestamptz not null default now()
);

create index loras_owner_created on public.loras (owner_id, created_at desc);
create index jobs_lora on public.training_jobs (lora_id);
create index jobs_owner_created on public.training_jobs (owner_id, created_at desc);
create index jobs_working_seen on public.training_jobs (seen_at) where status in ('running', 'stopping', 'pausing');
create index jobs_wished on public.training_jobs (worker_id) where desired_state <> 'none';
create index images_lora_created on public.generated_images (lora_id, created_at desc);
create index images_job on public.generated_images (job_id);
create index images_owner_created on public.generated_images (owner_id, created_at desc);

-- Not exposed by the Data API: what policies and triggers need.
create schema studio;

create function studio.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := now();
  return new;
end $$;

create function studio.guard_job() returns trigger language plpgsql set search_path = '' as $$
begin
  if (new.run, new.seq) < (old.run, old.seq) then
    return null; -- a late message: zero rows, no error
  end if;
  if new.run = old.run then
    if old.status in ('finished', 'failed', 'stopped') and new.status <> old.status then
      raise exception 'job % is already %; only a new run can change that', old.id, old.status
        using errcode = '23514';
    end if;
    if old.worker_id <> '' and new.worker_id <> old.worker_id then
      raise exception 'job % belongs to another worker', old.id using errcode = '23514';
    end if;
  end if;
  if new.run > old.run
    or (new.desired_state in ('stop', 'pause') and new.status in ('finished', 'failed', 'stopped'))
    or (new.desired_state = 'pause' and new.status in ('paused', 'interrupted'))
    or (new.desired_state = 'resume' and new.status in ('queued', 'running', 'stopping', 'pausing')) then
    new.desired_state := 'none'; -- done, or past doing
  end if;
  if (new.run, new.seq) > (old.run, old.seq) or new.heartbeat_at is distinct from old.heartbeat_at then
    new.seen_at := now();
    -- What the reaper took for dead has spoken.
    new.reaped_at := null;
  end if;
  return new;
end $$;

create trigger loras_touch before update on public.loras
  for each row execute function studio.touch_updated_at();
create trigger jobs_guard before update on public.training_jobs
  for each row execute function studio.guard_job();
create trigger jobs_touch before update on public.training_jobs
  for each row execute function studio.touch_updated_at();

-- A parent that exists and is not the caller's. One that does not exist yet passes, so that the foreign key can
-- say 23503, "wait for it", where a policy would say 42501, "you may not". Definer: it has to see all rows.
create function studio.is_foreign_lora(lora uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (select from public.loras
    where id = lora and owner_id is distinct from (select auth.uid()))
$$;
create function studio.is_foreign_job(job uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (select from public.training_jobs
    where id = job and owner_id is distinct from (select auth.uid()))
$$;

-- Trainings whose worker has been silent so long, as the server saw it, become interrupted. Not final: a machine
-- that was only offline goes on with its next word. Returns how many.
create function public.reap_stale_jobs(max_age interval default '15 minutes') returns int
language sql set search_path = '' as $$
  with reaped as (
    update public.training_jobs set status = 'interrupted', reaped_at = now(), finished_at = now(),
      message = 'No sign of life from the machine that trains this.'
    where status in ('running', 'stopping', 'pausing') and seen_at < now() - max_age
    returning 1)
  select count(*)::int from reaped
$$;

alter table public.loras enable row level security;
alter table public.training_jobs enable row level security;
alter table public.job_events enable row level security;
alter table public.generated_images enable row level security;

create policy loras_own on public.loras for all to authenticated
  using ((select auth.uid()) = owner_id) with check ((select auth.uid()) = owner_id);
create policy jobs_own on public.training_jobs for all to authenticated
  using ((select auth.uid()) = owner_id)
  with check ((select auth.uid()) = owner_id and not studio.is_foreign_lora(lora_id));
create policy images_own on public.generated_images for all to authenticated
  using ((select auth.uid()) = owner_id)
  with check ((select auth.uid()) = owner_id
    and not studio.is_foreign_lora(lora_id) and not studio.is_foreign_job(job_id));
create policy events_read on public.job_events for select to authenticated
  using ((select auth.uid()) = owner_id);
create policy events_add on public.job_events for insert to authenticated
  with check ((select auth.uid()) = owner_id and not studio.is_foreign_job(job_id));

-- Newer projects grant nothing by themselves, to service_role neither; older ones grant all to everyone. Both end
-- up the same here.
revoke all on public.loras, public.training_jobs, public.job_events, public.generated_images
  from anon, authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;
grant usage on schema studio to authenticated;
grant select, insert, update, delete on public.loras, public.training_jobs, public.generated_images
  to authenticated, service_role;
grant select, insert on public.job_events to authenticated;
grant select, insert, update, delete on public.job_events to service_role;
revoke execute on all functions in schema studio from public;
grant execute on function studio.is_foreign_lora(uuid), studio.is_foreign_job(uuid) to authenticated;
revoke execute on function public.reap_stale_jobs(interval) from public, anon, authenticated;
grant execute on function public.reap_stale_jobs(interval) to service_role;
