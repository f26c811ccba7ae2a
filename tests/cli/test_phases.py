"""Killed at every phase mark: cor, the monitor, the VMM, and deleted by force. Nothing is left."""

import phases
from harness import case


@case(timeout=300, only=("cor",))
def test_kill_at_every_mark(t):
    for mark in phases.names(t):
        for victim in phases.VICTIMS:
            with t.step(f"{victim} at {mark}"):
                phases.cut(t, mark, victim)


@case(timeout=100, only=("cor",), quick=True)
def test_kill_at_some_marks(t):
    for mark in ("turn", "spawned", "hooks", "created", "running"):
        for victim in ("monitor", "vmm"):
            with t.step(f"{victim} at {mark}"):
                phases.cut(t, mark, victim)
