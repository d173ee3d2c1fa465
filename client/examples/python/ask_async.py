"""Has several prompts answered at once."""

from __future__ import annotations

import asyncio
import sys

from tierwise import AsyncClient

PROMPTS = (
    "Translate 'good morning' to Spanish.",
    "Write a SQL query that counts orders by month.",
    "Review this design: one database shared by twelve services.",
)


async def main() -> int:
    async with AsyncClient() as client:
        responses = await asyncio.gather(*(client.chat(prompt) for prompt in PROMPTS))
    for prompt, response in zip(PROMPTS, responses, strict=True):
        print(f"{response.decision.tier_id:<8} {response.model_id:<16} {prompt}")
        print(f"  {response.text}")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
