"""A client by aioquic, which knows of haul only the frame: sends each TEXT on the first stream of a WebTransport session
and prints the text that comes for it, or the status of a refusal.

by_aioquic.py PORT TARGET TEXT...
"""

import asyncio
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, StreamDataReceived

TEXT, CONTROL = 0x01, 0x20


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = None
        self.stream = None
        self.heard = bytearray()

    def ask(self, authority, target, texts):
        self.texts = texts
        session = self._quic.get_next_available_stream_id()
        fields = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":authority": authority,
            ":path": target,
            ":protocol": "webtransport",
            "origin": f"https://{authority}",
        }
        self.h3.send_headers(session, [(name.encode(), value.encode()) for name, value in fields.items()])
        self.transmit()

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.h3 = H3Connection(self._quic, enable_webtransport=True)
        if isinstance(event, StreamDataReceived) and event.stream_id == self.stream:
            # aioquic takes what comes on a stream that it opened for frames of HTTP/3.
            self.heard += event.data
            self.frames()
            return
        for event in self.h3.handle_event(event) if self.h3 else []:
            if isinstance(event, HeadersReceived):
                self.headers(event.stream_id, dict(event.headers)[b":status"].decode())

    def headers(self, session, status):
        if status != "200":
            print(status, flush=True)
            self.close()
            return
        self.stream = self.h3.create_webtransport_stream(session)
        frames = (bytes([TEXT]) + text.encode() for text in self.texts)
        frames = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
        self._quic.send_stream_data(self.stream, b"haul.v1\n" + frames)

    def frames(self):
        if self.heard[:4] == b"haul":
            del self.heard[:8]
        while len(self.heard) >= 4 and len(self.heard) >= 4 + int.from_bytes(self.heard[:4], "big"):
            size = int.from_bytes(self.heard[:4], "big")
            frame = bytes(self.heard[4 : 4 + size])
            del self.heard[: 4 + size]
            if frame[0] & CONTROL:
                continue
            print(frame[1:].decode(), flush=True)
            self.texts.pop()
            if not self.texts:
                self.close()


async def main(port, target, texts):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, max_datagram_frame_size=65536)
    configuration.verify_mode = ssl.CERT_NONE
    async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as peer:
        peer.ask(f"127.0.0.1:{port}", target, texts)
        await peer.wait_closed()


asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
