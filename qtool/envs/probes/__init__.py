"""Programs that run inside a new environment and prove that it works, or end with a code.

Each is started as ``python -I FILE ARGUMENTS...`` by the environment's own interpreter, where
qtool is not installed: standard library and the recipe's packages only, for Python 3.8 and newer.
What they print goes to the log; lines that begin with ``proven:`` say what they found out. Those
are written at one go with a line end before them, for native code logs into the same pipe.
"""
