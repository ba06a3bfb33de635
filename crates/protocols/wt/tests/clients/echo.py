"""A haul peer over aioquic's WebTransport: answers every packet with itself, the way it came, and `bye` with a close of
4000.

echo.py client PORT     dials, opens the first stream
echo.py server CERT KEY listens, prints its port
"""

import asyncio
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DatagramReceived, HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, StreamDataReceived

CONTROL, CLOSE = 0x20, 4


class Echo(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.h3 = None
        self.heard = {}
        self.begun = set()
        self.own = set()
        self.ended = set()

    def ask(self, port):
        session = self._quic.get_next_available_stream_id()
        fields = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":authority": f"127.0.0.1:{port}",
            ":path": "/live?room=7",
            ":protocol": "webtransport",
        }
        self.h3.send_headers(session, [(name.encode(), value.encode()) for name, value in fields.items()])
        self.transmit()

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.h3 = H3Connection(self._quic, enable_webtransport=True)
        if isinstance(event, StreamDataReceived) and event.stream_id in self.own:
            # aioquic takes what comes on a stream that it opened for frames of HTTP/3.
            self.data(event)
            return
        for event in self.h3.handle_event(event) if self.h3 else []:
            if isinstance(event, HeadersReceived):
                self.headers(event.stream_id, dict(event.headers))
            elif isinstance(event, DatagramReceived):
                self.h3.send_datagram(event.stream_id, event.data)
            elif isinstance(event, WebTransportStreamDataReceived):
                self.data(event)

    def data(self, event):
        heard = self.heard.setdefault(event.stream_id, bytearray())
        heard += event.data
        self.stream(event.stream_id, heard)

    def headers(self, session, fields):
        if fields.get(b":protocol") == b"webtransport":
            self.h3.send_headers(session, [(b":status", b"200")])
        elif fields.get(b":status") == b"200":
            stream = self.h3.create_webtransport_stream(session)
            self.own.add(stream)
            self.begun.add(stream)
            self._quic.send_stream_data(stream, b"haul.v1\n")
        else:
            print("refused", fields[b":status"].decode(), flush=True)

    def stream(self, stream, heard):
        if stream in self.ended:
            return
        if stream not in self.begun:
            if len(heard) < 8:
                return
            self._quic.send_stream_data(stream, b"haul.v1\n")
            self.begun.add(stream)
        if heard[:4] == b"haul":
            if len(heard) < 8:
                return
            del heard[:8]
        while len(heard) >= 4 and len(heard) >= 4 + int.from_bytes(heard[:4], "big"):
            size = int.from_bytes(heard[:4], "big")
            frame = bytes(heard[4 : 4 + size])
            del heard[: 4 + size]
            if frame == b"\x01bye":
                frame = bytes([CONTROL, CLOSE]) + (4000).to_bytes(2, "big") + b"as you say"
            last = bool(frame[0] & CONTROL and frame[1] == CLOSE)
            self._quic.send_stream_data(stream, len(frame).to_bytes(4, "big") + frame, end_stream=last)
            if last:
                self.ended.add(stream)
                return


async def main():
    configuration = QuicConfiguration(
        is_client=sys.argv[1] == "client", alpn_protocols=H3_ALPN, max_datagram_frame_size=65536
    )
    if sys.argv[1] == "client":
        configuration.verify_mode = ssl.CERT_NONE
        port = int(sys.argv[2])
        async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Echo) as peer:
            peer.ask(port)
            await peer.wait_closed()
    else:
        configuration.load_cert_chain(sys.argv[2], sys.argv[3])
        server = await serve("127.0.0.1", 0, configuration=configuration, create_protocol=Echo)
        print(server._transport.get_extra_info("sockname")[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
