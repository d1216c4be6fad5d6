"""boto3 as a client: one fetch for each line on standard input, answered by a line with the access
key id or with the error. With `anew`, each looks for credentials as a new program does: from
instance metadata boto3 keeps a set of under 15 minutes for longer than it lives."""

import sys

import boto3

credentials = None
for _ in sys.stdin:
    try:
        # As a service client does: looked up once, then asked for before each call.
        if credentials is None or "anew" in sys.argv:
            credentials = boto3.Session().get_credentials()
        print(credentials.get_frozen_credentials().access_key, flush=True)
    except Exception as error:
        print("error:", " ".join(str(error).split()), flush=True)
