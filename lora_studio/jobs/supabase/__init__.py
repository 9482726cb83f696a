"""The mirror in Supabase: rows and files sent, LoRAs of other machines fetched, remote commands done."""
