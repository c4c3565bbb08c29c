"""Conversations: messages, their journal and files, the client of an engine, the screen."""
