"""The client in other circumstances: after a fork, and with nothing but its own imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
from tests.integration.client.conftest import World

PROGRAM = textwrap.dedent(
    """
    import json, os, sys
    from pathlib import Path
    from tierwise import Client, ClientSettings, ProviderSettings

    used_before_fork = sys.argv[1] == "used"
    settings = ClientSettings(spool_path=Path(os.environ["SPOOL"]), router_timeout_s=5.0)
    providers = {"openai": ProviderSettings(key="k", base_url=os.environ["OPENAI_BASE"])}
    client = Client(os.environ["ROUTER"], providers=providers, settings=settings)
    prompt = "please summarize this article in two short sentences"
    if used_before_fork:
        assert client.chat(prompt).decision.routerless_cause is None
    children = []
    for number in range(3):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            response = client.chat(prompt)
            flushed = client.flush(20)
            client.close()
            cause = response.decision.routerless_cause
            os.write(writing, json.dumps([response.model_id, cause, flushed]).encode())
            os._exit(0)
        os.close(writing)
        children.append((child, reading))
    found = []
    for child, reading in children:
        found.append(json.loads(os.read(reading, 1000) or b'"nothing"'))
        os.waitpid(child, 0)
    # Longer than a lease: what a child had taken when it ended comes free with that.
    found.append([client.chat(prompt).model_id, None, client.flush(45)])
    client.close()
    print(json.dumps(found))
    """
)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("before", ["made", "used"])
def test_a_client_that_was_made_before_a_fork_works_in_every_process(
    world: World, before: str
) -> None:
    variables = {
        **os.environ,
        "ROUTER": world.router,
        "OPENAI_BASE": world.providers.base_url("openai"),
        "SPOOL": str(world.spool),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, before],
        env=variables,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["gpt-small", None, True]] * 4
    assert "ERROR" not in done.stderr


def test_importing_the_library_pulls_in_nothing_heavy() -> None:
    heavy = "numpy faiss torch onnxruntime sqlalchemy jsonschema openai anthropic pydantic"
    program = (
        "import sys, tierwise; found = {one.split('.')[0] for one in sys.modules};"
        f"print(sorted(found & set({heavy.split()!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
