"""The mirror in Supabase: what is sent, what is fetched, what is asked for over there."""
