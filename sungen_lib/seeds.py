"""Seeds derived from one seed: one for each stage of a run."""

from __future__ import annotations

import numpy as np


def derived_seed(*parts: int) -> int:
    """A seed for one stage of a run: equal parts give equal seeds, neighbouring parts unrelated ones."""
    # The count comes first because a SeedSequence ignores trailing zeros.
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1)[0])
