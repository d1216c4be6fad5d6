"""Clients that fetch credentials without pause until SIGTERM: botocore and plain requests by TCP, and
plain requests on the Unix socket.

Writes what each saw as JSON: how many fetches, which access keys, how many failed, the first of those
with their times (CLOCK_MONOTONIC), and the slowest fetch in seconds."""

import argparse
import http.client
import json
import multiprocessing
import os
import signal
import socket
import time
import urllib.parse

import botocore.session

# Between two fetches of one client: the machine has other things to do.
PAUSE = 0.005
# A request that is not answered within this has failed.
TIMEOUT = 20
# Failures that are told in full, of each client.
EXAMPLES = 5


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def plain(connection, path):
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise OSError(f"{response.status}: {body.decode()}")
        return json.loads(body)["AccessKeyId"]
    finally:
        connection.close()


def clients(arguments):
    """A function for each kind, which fetches once and returns the access key's id."""
    url = urllib.parse.urlsplit(arguments.url)

    def sdk():
        # As a program that starts now: nothing is remembered from the fetch before.
        credentials = botocore.session.Session().get_credentials()
        if credentials is None:
            raise OSError("botocore found no credentials")
        return credentials.get_frozen_credentials().access_key

    # Without a token: whose it is, credd asks the kernel.
    def tcp():
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=TIMEOUT)
        return plain(connection, url.path)

    def unix():
        return plain(Unix(arguments.socket), url.path)

    return {"sdk": sdk, "tcp": tcp, "unix": unix}


def fetch_until(stopped, kind, fetch, started, results):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    count, keys, failed, examples, slowest = 0, set(), 0, [], 0
    while not stopped.is_set():
        begun = time.monotonic()
        try:
            keys.add(fetch())
        except Exception as error:
            failed += 1
            if len(examples) < EXAMPLES:
                examples.append(f"at {begun:.3f}: {type(error).__name__}: {error}")
        if count == 0:
            started.wait()
        count += 1
        slowest = max(slowest, time.monotonic() - begun)
        time.sleep(PAUSE)
    results.put({"kind": kind, "fetches": count, "keys": sorted(keys), "failed": failed,
                 "examples": examples, "slowest": round(slowest, 3)})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--token-file", required=True)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--each", type=int, default=2, help="clients of each kind")
    arguments = parser.parse_args()
    os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = arguments.url
    os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = arguments.token_file
    # So that nothing but the endpoint can be the source.
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    kinds = clients(arguments).items()
    stopped, results = multiprocessing.Event(), multiprocessing.Queue()
    started = multiprocessing.Barrier(len(kinds) * arguments.each + 1)
    workers = [
        multiprocessing.Process(target=fetch_until, args=(stopped, kind, fetch, started, results))
        for kind, fetch in kinds
        for _ in range(arguments.each)
    ]
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    # Each has fetched once.
    started.wait()
    print("fetching", flush=True)
    seen = [results.get() for _ in workers]
    print(json.dumps(seen), flush=True)


main()
