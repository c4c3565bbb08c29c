"""What a hub knows about a repository, and a small HTTP layer to ask it."""
