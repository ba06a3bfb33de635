"""A haul peer over aioquic: answers every packet with itself, the way it came, and `bye` with a close of 4000.

echo.py client PORT     dials, opens the first stream
echo.py server CERT KEY listens, prints its port
Prints how the connection ended.
"""

import asyncio
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.buffer import Buffer, encode_uint_var
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, DatagramFrameReceived, StreamDataReceived

CONTROL, CLOSE = 0x20, 4


class Echo(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.heard = {}
        self.begun = set()
        self.numbers = {}
        self.ended = set()

    def begin(self):
        stream = self._quic.get_next_available_stream_id()
        self.begun.add(stream)
        self._quic.send_stream_data(stream, b"haul.v1\n")
        self.transmit()

    def quic_event_received(self, event):
        if isinstance(event, DatagramFrameReceived):
            self._quic.send_datagram_frame(event.data)
        elif isinstance(event, StreamDataReceived):
            heard = self.heard.setdefault(event.stream_id, bytearray())
            heard += event.data
            if event.stream_id & 2:
                if event.end_stream:
                    self.single(bytes(self.heard.pop(event.stream_id)))
            else:
                self.stream(event.stream_id, heard)
        elif isinstance(event, ConnectionTerminated):
            print("ended", event.error_code, event.reason_phrase, flush=True)

    def stream(self, stream, heard):
        if stream in self.ended:
            return
        if stream not in self.numbers:
            if len(heard) < 8:
                return
            assert heard[:7] == b"haul.v1", heard
            del heard[:8]
            self.numbers[stream] = 0
            if stream not in self.begun:
                self._quic.send_stream_data(stream, b"haul.v1\n")
        while len(heard) >= 4 and len(heard) >= 4 + int.from_bytes(heard[:4]):
            size = int.from_bytes(heard[:4])
            answer, last = self.answer(bytes(heard[4 : 4 + size]))
            del heard[: 4 + size]
            self._quic.send_stream_data(stream, len(answer).to_bytes(4) + answer, end_stream=last)
            if last:
                self.ended.add(stream)
                return

    def single(self, data):
        """A frame of an unordered stream."""
        head = Buffer(data=data)
        stream = head.pull_uint_var()
        head.pull_uint_var()
        answer, last = self.answer(data[head.tell() :])
        number = self.numbers.setdefault(stream, 0)
        self.numbers[stream] += 1
        out = self._quic.get_next_available_stream_id(is_unidirectional=True)
        data = encode_uint_var(stream) + encode_uint_var(number) + answer
        self._quic.send_stream_data(out, data, end_stream=True)
        if last:
            self._quic.send_stream_data(stream, b"", end_stream=True)

    def answer(self, frame):
        if frame == b"\x01bye":
            return bytes([CONTROL, CLOSE]) + (4000).to_bytes(2) + b"as you say", True
        return frame, bool(frame[0] & CONTROL and frame[1] == CLOSE)


async def main():
    configuration = QuicConfiguration(
        is_client=sys.argv[1] == "client", alpn_protocols=["haul/1"], max_datagram_frame_size=65536
    )
    if sys.argv[1] == "client":
        configuration.verify_mode = ssl.CERT_NONE
        async with connect(
            "127.0.0.1", int(sys.argv[2]), configuration=configuration, create_protocol=Echo
        ) as peer:
            peer.begin()
            await peer.wait_closed()
    else:
        configuration.load_cert_chain(sys.argv[2], sys.argv[3])
        server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Echo)
        print(server._transport.get_extra_info("sockname")[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
