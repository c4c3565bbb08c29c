"""Engines: command lines that start an OpenAI-compatible server on loopback."""
