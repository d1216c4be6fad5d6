"""A person's own credd: the user units under that person's service manager, beside the system's."""

import pathlib
import pwd
import secrets
import subprocess

import rig

NAME = "person"
# In that person's files, where no secret of the system's is to be found.
SECRET = secrets.token_hex(20)
BOTO = """
import botocore.session
found = botocore.session.get_session().get_credentials()
print(found.method, found.get_frozen_credentials().access_key)
"""


def run(*command, check=True, **options):
    """As that person, in a session."""
    user = pwd.getpwnam(NAME)
    variables = [f"XDG_RUNTIME_DIR=/run/user/{user.pw_uid}", f"HOME={user.pw_dir}", "PYTHONPATH=/opt/sdk"]
    return rig.run("runuser", f"--user={NAME}", "--", "env", *variables, *command, check=check,
                   cwd=user.pw_dir, **options)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


def configure(endpoint):
    home = pathlib.Path(pwd.getpwnam(NAME).pw_dir)
    write(home / ".aws/credentials",
          f"[ops]\naws_access_key_id = {rig.KEY}\naws_secret_access_key = {SECRET}\n")
    write(home / ".config/credd/credd.toml", f"""
[identity.ops]
provider = "profile"
profile = "ops"

[identity.ops-mfa]
provider = "session-token"
from = "ops"
mfa-serial = "{rig.SERIAL}"
endpoint = "{endpoint}"

[identity.dev]
provider = "assume-role"
from = "ops-mfa"
role-arn = "arn:aws:iam::123456789012:role/dev"
endpoint = "{endpoint}"
""")
    rig.run("chown", "--recursive", f"{NAME}:", home)
    return home


def fetches():
    """What boto3 gets by the Unix socket's `exec`, and from systemd's port with the token's file."""
    runtime = f"/run/user/{pwd.getpwnam(NAME).pw_uid}/credd"
    by_port = ["env", "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:9169/v1/credentials/dev",
               f"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE={runtime}/tokens/default/token"]
    for words in (["credd", "exec", "dev", "--"], by_port):
        yield run(*words, "python3", "-c", BOTO).strip()


def check():
    """What is not as it must be."""
    sts = rig.sts(SECRET)
    rig.run("useradd", "--create-home", NAME)
    home = configure(f"http://{sts.said}")
    rig.run("loginctl", "enable-linger", NAME)
    manager = f"user@{pwd.getpwnam(NAME).pw_uid}.service"
    rig.wait(lambda: rig.run("systemctl", "is-active", manager, check=False).strip() == "active", manager)
    run("systemctl", "--user", "enable", "--now", "credd.socket", "credd.service")
    rig.wait(lambda: "ops-mfa" in run("credd", "mfa", "--list"), "a question for a person's code")
    run("credd", "mfa", "ops-mfa", "--code-stdin", input=rig.mfa_code() + "\n")
    keys = set(fetches())
    run("systemctl", "--user", "restart", "credd.service")
    keys |= set(fetches())
    run("systemctl", "--user", "kill", "--kill-who=main", "--signal=KILL", "credd.service")
    # Only the port is systemd's, and has clients wait.
    rig.wait(lambda: "dev" in run("credd", "status", check=False), "a person's credd after the kill")
    keys |= set(fetches())
    if len(keys) != 1:
        yield f"a person's boto3 saw {keys}, where one set is still good"
    asked = rig.judged(sts)
    if asked["actions"] != {"GetSessionToken": 1, "AssumeRole": 1} or asked["rejected"]:
        yield f"a person's credd asked STS {asked}"
    run("systemctl", "--user", "reload", "credd.service")
    with (home / ".config/credd/credd.toml").open("a") as config:
        config.write("no-such-key = 1\n")
    try:
        run("systemctl", "--user", "reload", "credd.service")
        yield "a person's reload of a bad config is no failure"
    except AssertionError:
        keys |= set(fetches())
    found = subprocess.run(["python3", "-c", BOTO], user="nobody", capture_output=True, text=True, env={
        "PYTHONPATH": "/opt/sdk", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9169/v1/credentials/dev"})
    if "ASIA" in found.stdout:
        yield f"another user got {found.stdout}"
    run("systemctl", "--user", "disable", "--now", "credd.socket", "credd.service")
