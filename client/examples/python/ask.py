"""Has a prompt answered by the cheapest model that is good enough."""

from __future__ import annotations

import sys

from tierwise import ChatError, Client, ErrorClass


def main(prompt: str) -> int:
    with Client() as client:
        try:
            response = client.chat(prompt)
        except ChatError as error:
            if error.error_class is ErrorClass.CONTENT_POLICY:
                print("The provider declined to answer. No other model was asked.")
                return 1
            raise
    print(response.text)
    print(f"{response.decision.tier_id} tier, {response.model_id}: {response.decision.reason}")
    if response.cost_nano_usd is not None:
        print(f"cost ${response.cost_nano_usd / 1e9:.6f} in {len(response.attempts)} calls")
    return 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]) or "Summarize in one sentence why the sky is blue."))
