"""Sends a text from a page of ORIGIN with TOKEN as a subprotocol, and prints its receipt or the status that refused it:
knock.py URL ORIGIN TOKEN"""

import asyncio
import sys

import websockets


async def main(url, origin, token):
    try:
        async with websockets.connect(url, origin=origin, subprotocols=[f"bearer.{token}"]) as socket:
            await socket.send("from python")
            print(await socket.recv())
    except websockets.exceptions.InvalidStatus as refused:
        print(refused.response.status_code)


asyncio.run(main(*sys.argv[1:]))
