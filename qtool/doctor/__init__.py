"""What is wrong with this machine for this model, and the exact cure.

Data in, data out: ``probes`` take a ``Snapshot`` without importing anything of the examined
environment, ``rules`` turn it into findings, ``verdict`` says what runs how, ``report`` says it in
lines. Only ``probes`` touch the machine.
"""
