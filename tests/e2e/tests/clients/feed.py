"""Sends each line of a file as a text message and prints the receipts: feed.py URL FILE"""

import asyncio
import sys

import websockets

WINDOW = 512


async def main(url, path):
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")[:-1]
    room = asyncio.Semaphore(WINDOW)
    async with websockets.connect(url, max_size=None) as socket:

        async def receive():
            for _ in lines:
                print(await socket.recv())
                room.release()

        receiving = asyncio.create_task(receive())
        for line in lines:
            await room.acquire()
            await socket.send(line)
        await receiving


asyncio.run(main(sys.argv[1], sys.argv[2]))
