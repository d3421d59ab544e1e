"""What the garbage collector looks at. Nothing else in this process changes its settings.

A full collection visits every object that may be in a cycle while all threads wait, whichever of
them began it: with a thousand servers no call is relayed for 40 to 90 ms. What a configuration
made lives long; it is frozen, which means that it is not visited again. Reference counts free it
as before, and replaced servers leave no cycles. Other cycles that were frozen and then dropped,
such as a child's that ran at a reload, stay until there are a fifth more frozen objects, or twice
as many where a look at all of them takes long: then everything is collected once.
"""

from __future__ import annotations

import gc

LARGE = 80_000
"""From so many objects on, a full collection would hold the loop for 50 ms or more."""
GROWTH = 0.2
"""What share more frozen objects than after the last full collection leads to the next."""
GROWTH_OF_LARGE = 1.0


class FrozenObjects:
    """Freezes what is there whenever a configuration came into force."""

    def __init__(self, large: int = LARGE) -> None:
        self._large = large
        self._kept = 0
        self._new = 0

    def settle(self) -> None:
        """Freeze what is there; call it on the relay's loop after each configuration."""
        self._new += len(gc.get_objects())  # without those that are frozen
        gc.freeze()
        if self._new >= self._growth * self._kept:  # fewer are too few, and to count takes long
            self._new = 0
            self._look()

    def _look(self) -> None:
        if gc.get_freeze_count() > (1 + self._growth) * self._kept:
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._kept = gc.get_freeze_count()

    @property
    def _growth(self) -> float:
        return GROWTH if self._kept < self._large else GROWTH_OF_LARGE
