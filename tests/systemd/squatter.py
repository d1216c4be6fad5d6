"""Tries to take a TCP port a thousand times a second until SIGTERM, as another program would that
waits for the daemon to leave it.

Writes as JSON how often it tried, when it had the port (CLOCK_MONOTONIC), and the longest time that
it did not look."""

import errno
import json
import os
import signal
import socket
import sys
import time

address = (sys.argv[1], int(sys.argv[2]))
tries, taken, longest = 0, [], 0
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
except OSError:
    os.nice(-20)
print("watching", flush=True)
last = time.monotonic()
while not stopped:
    # Connections that have ended do not keep it out, only one that listens does.
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(address)
        probe.listen()
        taken.append(time.monotonic())
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
    probe.close()
    tries += 1
    now = time.monotonic()
    longest = max(longest, now - last)
    last = now
    time.sleep(0.001)
print(json.dumps({"tries": tries, "taken": taken, "longest": longest}), flush=True)
