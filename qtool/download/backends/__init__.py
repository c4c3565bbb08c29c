"""Other programs that fetch the bytes, under qtool's plan, lock, layout and verification.

``program`` says what qtool asks of one, ``aria2c`` and ``hf_transfer`` are the two there are,
``programs`` finds one, ``child`` runs it, ``staging`` is where it writes, ``bringer`` brings a file
by it, ``fetch`` makes a download of that.
"""
