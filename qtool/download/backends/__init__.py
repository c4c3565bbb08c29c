"""Other programs that fetch the bytes, under qtool's plan, lock, layout and verification.

``program`` says what qtool asks of one, ``aria2c`` and ``hf_transfer`` are the two there are,
``child`` runs one, ``staging`` is where they write, ``fetch`` makes a download of it.
"""
