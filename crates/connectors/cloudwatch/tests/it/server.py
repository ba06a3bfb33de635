"""moto's server, as these tests need it: `server.py -H HOST -p PORT`."""

import sys

import moto.server

# It changes its lists as if it had one thread: none is interrupted while it does.
sys.setswitchinterval(1000)

moto.server.main(sys.argv[1:])
