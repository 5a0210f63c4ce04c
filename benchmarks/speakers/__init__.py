"""Error of speakers on conversations that are put together from real recordings."""
