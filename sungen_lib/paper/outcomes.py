"""The words for what became of a claim of the paper, or of a number. Imports nothing, so that it costs nothing."""

NOT_RUN = "not run"  # the reason follows after a colon
VERDICTS = ("holds", "fails", "undecided", "diverged", NOT_RUN)  # on claims
NUMBER_VERDICTS = ("reproduced", "differs", "undecided")


def kind(verdict: str) -> str:
    """The verdict without its reason: "not run: why" is one verdict, whatever the reasons."""
    return verdict.partition(":")[0]
