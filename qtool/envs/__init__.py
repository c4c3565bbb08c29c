"""Environments: tested sets of packages, each in isolation, for engines to run in.

``find_environment`` and ``list_environments`` are what others need::

    from qtool.envs.store import find_environment

    environment = find_environment("transformers")  # NotFoundError, EnvironmentFault
    argv = [str(environment.python), "-m", "..."]
"""
