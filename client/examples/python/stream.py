"""Prints an answer as it comes."""

from __future__ import annotations

import sys

from tierwise import ChatError, Client, TextDelta


def main(prompt: str) -> int:
    with Client() as client:
        try:
            with client.chat_stream(prompt) as stream:
                for delta in stream:
                    if isinstance(delta, TextDelta):
                        print(delta.text, end="", flush=True)
        except ChatError as error:
            # A stream that breaks off is an error; what came before it is not lost.
            received = error.partial.text if error.partial else ""
            print(f"\n[broke off after {len(received)} characters: {error}]")
            return 1
    print(f"\n[{stream.response.model_id}]")
    return 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]) or "Write a haiku about queues."))
