"""The program of the transformers engine: an OpenAI-compatible server for one model.

It runs in any environment that has torch and transformers (4.36 to 5.x) on Python 3.9 or newer,
whether or not qtool is installed there: ``python -I path/to/transformers_server``. A folder that
is run as one program, because as one file it would be over a thousand lines; so every part stays
readable, and those without torch are tested without it. Its modules import each other relatively
and nothing else of qtool but ``lifeline`` beside this folder. See ``__main__`` for how it starts,
``base`` for what goes over its standard streams.
"""
