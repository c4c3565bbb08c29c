"""Environments made for real, by pip and uv, from wheels that the tests make on the spot."""
