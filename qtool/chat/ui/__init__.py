"""The screens of a conversation: besides ``qtool/output.py`` the only modules that print."""
