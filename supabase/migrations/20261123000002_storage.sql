-- Files: LoRAs, and pictures as previews and results. A signed-in user has the folder named after their id.
-- 50 MB is the free plan's limit for one file; raise it here and in the project's settings on another plan.

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
  ('loras', 'loras', false, 52428800, array['application/octet-stream']),
  ('images', 'images', false, 20971520, array['image/png', 'image/jpeg', 'image/webp'])
on conflict (id) do update set public = excluded.public, file_size_limit = excluded.file_size_limit,
  allowed_mime_types = excluded.allowed_mime_types;

create policy studio_read on storage.objects for select to authenticated
  using (bucket_id in ('loras', 'images') and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy studio_add on storage.objects for insert to authenticated
  with check (bucket_id in ('loras', 'images') and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy studio_change on storage.objects for update to authenticated
  using (bucket_id in ('loras', 'images') and (storage.foldername(name))[1] = (select auth.uid())::text)
  with check (bucket_id in ('loras', 'images') and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy studio_remove on storage.objects for delete to authenticated
  using (bucket_id in ('loras', 'images') and (storage.foldername(name))[1] = (select auth.uid())::text);
