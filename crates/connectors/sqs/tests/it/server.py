"""moto's server, as these tests need it: `server.py -H HOST -p PORT`."""

import sys
import time

import moto.server
import moto.sqs.models

# It changes its lists as if it had one thread: none is interrupted while it does.
sys.setswitchinterval(1000)

# Whenever it is asked anything it looks at the clock for each message of the queue, and a datetime takes long.
moto.sqs.models.unix_time_millis = lambda: time.time() * 1000

moto.server.main(sys.argv[1:])
