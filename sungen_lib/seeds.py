"""Seeds derived from one seed: each stage of a run has its own."""

from __future__ import annotations

import numpy as np


def derived_seed(*parts: int) -> int:
    """A seed for one stage of a seeded run: equal parts, equal seed; neighbouring parts, unrelated seeds."""
    # The count comes first because a SeedSequence ignores trailing zeros.
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1)[0])
