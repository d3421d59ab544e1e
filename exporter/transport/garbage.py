"""What the garbage collector looks at. Nothing else in this process changes its settings.

A full collection visits every object that may be in a cycle while all threads wait, whichever of
them began it: with a thousand servers no call is relayed for 40 to 90 ms. What a configuration
made lives long; it is frozen, which means that it is not visited again. Reference counts free it
as before, and replaced servers leave no cycles. Other cycles that were frozen and then dropped,
such as a child's that ran at a reload, stay until the frozen objects have doubled: then everything
is collected once.
"""

from __future__ import annotations

import gc

GROWTH = 2
"""How many times as many frozen objects as after the last full collection lead to the next."""

_YOUNG = 1


class FrozenObjects:
    """Freezes what is there whenever the configuration came into force."""

    def __init__(self) -> None:
        self._kept = 0

    def settle(self) -> None:
        """Freeze what lives now; call it on the relay's loop after each configuration."""
        gc.collect(_YOUNG)  # what reading has left behind is young, and is not to be kept
        gc.freeze()
        if gc.get_freeze_count() > GROWTH * self._kept:
            self._collect()

    def _collect(self) -> None:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._kept = gc.get_freeze_count()
