"""A client by aiohttp: reads an event stream, POSTs each TEXT to it and prints the event that comes for it, or the status
of a refusal.

by_aiohttp.py URL TEXT...
"""

import asyncio
import sys

import aiohttp


async def main(url, texts):
    accept = {"accept": "text/event-stream"}
    async with aiohttp.ClientSession() as http, http.get(url, headers=accept) as stream:
        if stream.status != 200:
            print(stream.status, flush=True)
            return
        name = None
        async for line in stream.content:
            key, _, value = line.decode().rstrip("\n").partition(": ")
            if key == "event":
                name = value
            elif key == "data" and name == "haul-session":
                head, name = {"haul-session": value, "content-type": "text/plain"}, None
                for text in texts:
                    async with http.post(url, data=text.encode(), headers=head) as answer:
                        assert answer.status == 204, await answer.text()
            elif key == "data":
                print(value, flush=True)
                texts.pop()
                if not texts:
                    return


asyncio.run(main(sys.argv[1], sys.argv[2:]))
