"""What the clients assert: a line of JSON each, which the drill reads."""

import json
import sys
import traceback


def check(what, holds, seen=""):
    """Says whether `what` must hold does, and what was seen."""
    print(json.dumps({"what": what, "holds": bool(holds), "seen": str(seen)[:500]}), flush=True)


def run(*parts):
    """Runs each part; one that raises has failed, and the others go on."""
    for part in parts:
        try:
            part()
        except Exception as error:  # whatever it is, it is what was seen
            traceback.print_exc(file=sys.stderr)
            check(f"{part.__name__.replace('_', ' ')} works", False, f"{type(error).__name__}: {error}")
