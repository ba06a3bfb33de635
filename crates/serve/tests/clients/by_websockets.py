"""A client by the package websockets: sends each TEXT and prints what comes for it, or the status of a refusal.

by_websockets.py URL TEXT...
"""

import sys

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

try:
    with connect(sys.argv[1]) as socket:
        for text in sys.argv[2:]:
            socket.send(text)
            print(socket.recv(timeout=30), flush=True)
except InvalidStatus as refused:
    print(refused.response.status_code, flush=True)
