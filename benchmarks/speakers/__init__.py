"""How often speakers are told apart rightly, on conversations that are put together from real recordings."""
