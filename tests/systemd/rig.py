"""What the end-to-end test has around credd: an STS that counts, clients, a squatter, and the words
for what it does to the unit."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import pwd
import secrets
import signal
import subprocess
import sys
import time
import urllib.request

UNIT = "credd.service"
SERIAL = "arn:aws:iam::123456789012:mfa/ops"
KEY = "AKIAE2ETESTE2ETEST00"
# Of this run alone, so that nothing else can be found in their place.
SECRET = secrets.token_hex(20)
DEVICE = base64.b32encode(secrets.token_bytes(20)).decode()
CREDENTIAL = pathlib.Path("/etc/credd/ops-key.cred")
DROP_IN = pathlib.Path("/etc/systemd/system/credd.service.d/e2e.conf")
# No set is refreshed during the test, so that each call to STS is one too many.
LIFETIME = 12 * 60 * 60
PATIENCE = 60


def run(*command, check=True, **options):
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if check and done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def wait(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"there is not {what} after {PATIENCE} s")
        time.sleep(0.02)


def property(name):
    return run("systemctl", "show", "--value", f"--property={name}", UNIT).strip()


def main_process():
    return int(property("MainPID"))


def healthy():
    return subprocess.run(["credd", "health"], capture_output=True).returncode == 0


class Child:
    """A program of the test that says when it is ready, and what it saw when it is told to end."""

    def __init__(self, *command, **options):
        self.process = subprocess.Popen(
            [sys.executable, *map(str, command)], stdout=subprocess.PIPE, text=True, **options
        )
        self.said = self.process.stdout.readline().strip()
        assert self.said, f"{command} is not ready"

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return json.loads(self.process.communicate(timeout=PATIENCE)[0])


def sts(secret):
    """An STS that knows one user, by this secret, and takes each code of the device once."""
    return Child("/opt/clients/sts_judge.py", f"--lifetime={LIFETIME}", f"--key={KEY}",
                 f"--secret={secret}", f"--mfa-serial={SERIAL}", f"--mfa-secret={DEVICE}")


STS = sts(SECRET)


def judged(by=STS):
    with urllib.request.urlopen(f"http://{by.said}/counts", timeout=5) as answer:
        return json.load(answer)


def difference(after, before):
    """The calls that were made meanwhile, and signatures that were wrong."""
    counts = {action: count - before["actions"].get(action, 0)
              for action, count in after["actions"].items()}
    counts["rejected"] = after["rejected"] - before["rejected"]
    return {what: count for what, count in counts.items() if count}


def mfa_code():
    """RFC 6238, as the device that the STS knows shows it."""
    step = int(time.time()) // 30
    digest = hmac.digest(base64.b32decode(DEVICE), step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**6:06}"


def configure(roles):
    """A user's key, which systemd holds; a session of it, which takes a code; roles; and a rule."""
    CREDENTIAL.parent.mkdir(exist_ok=True)
    run("systemd-creds", "encrypt", "--name=ops-key", "-", CREDENTIAL, input=SECRET)
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(f"[Service]\nLoadCredentialEncrypted=ops-key:{CREDENTIAL}\n"
                       f"WatchdogSec={os.environ['CREDD_E2E_WATCHDOG']}\n")
    endpoint = f'endpoint = "http://{STS.said}"'
    text = f"""
[identity.ops]
provider = "keys"
access-key-id = "{KEY}"
secret-access-key = "credential:ops-key"

[identity.ops-mfa]
provider = "session-token"
from = "ops"
mfa-serial = "{SERIAL}"
{endpoint}

[[allow]]
caller = {{ user = "app", tcp = "without-token" }}
identity = {json.dumps(roles)}
"""
    for role in roles:
        text += f"""
[identity.{role}]
provider = "assume-role"
from = "ops-mfa"
role-arn = "arn:aws:iam::123456789012:role/{role}"
lifetime = "12h"
{endpoint}
"""
    pathlib.Path("/etc/credd/credd.toml").write_text(text)


def variables():
    """What `credd env` tells a shell."""
    lines = run("credd", "env", "billing").splitlines()
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
    return {name: value.strip("'\";") for name, value in pairs}


class Load:
    """Clients of the user `app`. The token is copied once: it stays good throughout."""

    token = pathlib.Path("/run/e2e-token")

    def __init__(self):
        told = variables()
        if not self.token.exists():
            self.token.write_text(
                pathlib.Path(told["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).read_text())
            os.chown(self.token, pwd.getpwnam("app").pw_uid, -1)
            self.token.chmod(0o400)
        self.child = Child(
            "/opt/e2e/load.py", "--url", told["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
            "--token-file", self.token, "--socket", "/run/credd/credd.sock", user="app",
            env={"PYTHONPATH": "/opt/sdk", "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        )

    def end(self):
        """What the clients of each kind saw together."""
        kinds = {}
        for seen in self.child.end():
            nothing = {"fetches": 0, "failed": 0, "slowest": 0, "keys": [], "examples": []}
            kind = kinds.setdefault(seen["kind"], nothing)
            kind["fetches"] += seen["fetches"]
            kind["failed"] += seen["failed"]
            kind["slowest"] = max(kind["slowest"], seen["slowest"])
            kind["keys"] = sorted({*kind["keys"], *seen["keys"]})
            kind["examples"] += seen["examples"]
        return kinds


def stranger():
    """What credd answers another user who shows no token."""
    fetch = "import sys, urllib.request as r; r.urlopen(sys.argv[1])"
    url = variables()["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    asked = subprocess.run([sys.executable, "-c", fetch, url], user="nobody", text=True,
                           capture_output=True)
    return asked.stderr.strip().splitlines()[-1:]


class Squatter:
    def __init__(self):
        url = variables()["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        host, port = url.split("/")[2].rsplit(":", 1)
        self.child = Child("/opt/e2e/squatter.py", host, port)

    def end(self):
        return self.child.end()


def journal():
    """Whether the audit log is in the journal, each key a field."""
    query = ["journalctl", f"--unit={UNIT}", "CREDD_AUDIT=1", "--output=json", "--lines=1"]
    line = run(*query, "CREDD_DECISION=granted", "CREDD_IDENTITY=billing").strip()
    fields = json.loads(line) if line else {}
    ours = {name: value for name, value in fields.items() if name.startswith("CREDD_")}
    problems = [] if ours else ["there is no audit line in the journal"]
    return {"fields": ours, "problems": problems}


def secrets_found(when):
    """Where the long-lived secret stands in clear, on disk or in the journal."""
    found = run("grep", "--recursive", "--files-with-matches", "--fixed-strings", SECRET,
                "/etc", "/var", "/usr/lib/systemd", "/home", "/root", "/tmp", check=False).split()
    exported = run("journalctl", "--output=export")
    found += ["the journal"] * sum(text in exported for text in [SECRET, "a-session+/", "a-secret+/"])
    return [f"a secret, {when}, in {place}" for place in found]


def leftovers(when, *places):
    """What a removed package has left."""
    places = ["/run/credd", "/var/lib/credd", CREDENTIAL, *places]
    left = [f"{place} is left {when}" for place in places if os.path.lexists(place)]
    descriptors = property("NFileDescriptorStore")
    if descriptors not in ("0", ""):
        left.append(f"{descriptors} descriptors are left {when}")
    if run("pgrep", "--exact", "credd", check=False):
        left.append(f"credd still runs {when}")
    return left
