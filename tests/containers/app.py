"""The app: prints what boto3 takes for its credentials, and who has found them."""

import os
import sys

import botocore.session

session = botocore.session.get_session()
credentials = session.get_credentials()
if credentials is None:
    sys.exit("no credentials")
frozen = credentials.get_frozen_credentials()
print(credentials.method, frozen.access_key, os.getuid(), flush=True)
