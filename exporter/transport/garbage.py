"""What the garbage collector looks at. Nothing else in this process changes its settings.

A full collection visits every object that may be in a cycle while all threads wait, whichever of
them began it: with a thousand servers no call is relayed for 40 to 90 ms. What a configuration
made lives long; it is frozen, which means that it is not visited again. Reference counts free it
as before, and replaced servers leave no cycles. Other cycles that were frozen and then dropped,
such as a child's that ran at a reload, stay until there are a fifth more frozen objects: then
everything is collected once.
"""

from __future__ import annotations

import gc

GROWTH = 0.2
"""What share more frozen objects than after the last full collection leads to the next."""


class FrozenObjects:
    """Freezes what is there whenever a configuration came into force."""

    def __init__(self) -> None:
        self._kept = 0
        self._new = 0

    def settle(self) -> None:
        """Freeze what is there; call it on the relay's loop after each configuration."""
        self._new += len(gc.get_objects())  # without those that are frozen
        gc.freeze()
        if self._new >= GROWTH * self._kept:  # fewer are not enough, and to count them takes long
            self._new = 0
            self._look()

    def _look(self) -> None:
        if gc.get_freeze_count() > (1 + GROWTH) * self._kept:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._kept = gc.get_freeze_count()
