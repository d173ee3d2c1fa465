"""Routes prompts with semantic-router, in a virtual environment of its own.

Started by `versus_semantic_router.py` with a folder of weights and a JSON file of utterances by
task. A line of output says when it is ready; from then on each line of input is a prompt as a JSON
string, and is answered with the seconds that routing it took. Nothing of ours is imported here.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from semantic_router import IndexedRouter, Route
from semantic_router.encoders import LocalEncoder


def main(weights: str, utterances: str) -> None:
    """Answers until the input ends."""
    tasks = json.loads(Path(utterances).read_text(encoding="utf-8"))
    router = IndexedRouter(
        encoder=LocalEncoder(name=weights),
        routes=[Route(name=task, utterances=texts) for task, texts in tasks.items()],
    )
    print(json.dumps({"ready": True, "routes": len(tasks)}), flush=True)
    for line in sys.stdin:
        prompt = json.loads(line)
        started = time.perf_counter()
        choice = router(prompt)
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "route": choice.name}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
