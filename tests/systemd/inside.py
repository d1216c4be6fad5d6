"""The end-to-end test, inside the container: what an operator does to credd, under the load of
clients that must not notice.

Takes the packages in /opt/packages, the count of each interruption from the environment, and writes
the figures to /opt/out. Ends with 1 if a figure is not as it must be."""

import json
import os
import pathlib
import subprocess
import sys
import time

import person
import rig

COUNT = int(os.environ["CREDD_E2E_COUNT"])
PACKAGES = sorted(pathlib.Path("/opt/packages").glob("credd_*.deb"))
OLDER = "/opt/packages/older.deb"
ROLES = ["billing", "stock", "report"]
# Between two interruptions, in which every client fetches undisturbed.
PAUSE = 0.3
UPGRADES = iter(PACKAGES[1:])


def restart():
    rig.run("systemctl", "restart", "credd.service")


def kill():
    rig.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "credd.service")


def hang():
    rig.run("systemctl", "kill", "--kill-who=main", "--signal=STOP", "credd.service")


def upgrade():
    # dpkg waits for the disk else, at each file.
    rig.run("dpkg", "--force-unsafe-io", "--install", next(UPGRADES))


# Whether requests without an SDK's retries get through as well.
KINDS = {"restart": (restart, True), "kill": (kill, False),
         "hang": (hang, False), "upgrade": (upgrade, True)}


def interrupt(kind, figures):
    """Does it once, and sees that another process serves the same sets."""
    before = rig.main_process()
    begun = time.monotonic()
    KINDS[kind][0]()
    rig.wait(lambda: rig.main_process() not in (before, 0), f"another process after {kind}")
    rig.wait(rig.healthy, f"every identity after {kind}")
    figures["seconds"].append(round(time.monotonic() - begun, 3))


def crash_loop(seconds):
    """A daemon that cannot start, for so long; clients are not served meanwhile."""
    drop_in = pathlib.Path("/run/systemd/system/credd.service.d/crash.conf")
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.write_text("[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=100ms\n")
    rig.run("systemctl", "daemon-reload")
    rig.run("systemctl", "restart", "credd.service", check=False)
    time.sleep(seconds)
    restarts = rig.property("NRestarts")
    drop_in.unlink()
    rig.run("systemctl", "daemon-reload")
    rig.run("systemctl", "restart", "credd.service")
    rig.wait(rig.healthy, "every identity after the crash loop")
    return int(restarts)


def install():
    """As a person does it: the package, then the config, the key for systemd to hold, a code. Before it
    there was one with a socket less, and another that was not what it is now."""
    rig.run("dpkg", "--install", OLDER)
    assert rig.property("ActiveState") == "active", "the package starts the daemon"
    said = rig.run("dpkg", "--install", PACKAGES[0])
    assert "credd: credd.socket has changed" in said, f"an upgrade tells of sockets, not {said}"
    rig.run("systemctl", "is-active", "credd-diag.socket")
    # As that has told.
    rig.run("systemctl", "stop", "credd.socket", "credd.service")
    rig.run("systemctl", "start", "credd.service")
    assert rig.run("ss", "-Hltn", "sport = 339").split()[2] == "1024", "the socket is the new one"
    rig.configure(ROLES)
    rig.run("credd", "check")
    rig.run("systemctl", "daemon-reload")
    rig.run("systemctl", "restart", "credd.service")
    rig.wait(lambda: "ops-mfa" in rig.run("credd", "mfa", "--list"), "a question for a code")
    rig.run("credd", "mfa", "ops-mfa", "--code-stdin", input=rig.mfa_code() + "\n")
    # What nobody asks for takes its time.
    for role in ROLES:
        rig.run("credd", "get", role)
    rig.wait(rig.healthy, "every identity after the MFA code")


def other_package():
    """The .rpm: what it has left after its removal. Its dependencies are Fedora's."""
    rpm = ["rpm", "--force-debian", "--nodeps"]
    package, = pathlib.Path("/opt/packages").glob("*.rpm")
    rig.run(*rpm, "--install", package)
    rig.configure(ROLES)
    rig.run("systemctl", "daemon-reload")
    rig.run("systemctl", "start", "credd.service")
    rig.wait(lambda: "ops-mfa" in rig.run("credd", "mfa", "--list"), "a question for a code")
    before = rig.main_process()
    # An upgrade to the same; only the disk says that a socket has changed.
    socket = pathlib.Path("/usr/lib/systemd/system/credd.socket")
    socket.write_text(socket.read_text() + "\n")
    said = rig.run(*rpm, "--upgrade", "--replacepkgs", package)
    assert "credd: credd.socket has changed" in said, f"an upgrade tells of sockets, not {said}"
    assert rig.main_process() not in (before, 0), "the upgrade starts the new program"
    rig.run(*rpm, "--erase", "credd")
    return rig.leftovers("after the removal of the .rpm", "/usr/bin/credd")


def interruptions(report):
    judged = rig.judged()
    squatter = rig.Squatter()
    for kind in os.environ["CREDD_E2E_KINDS"].split():
        figures = report["interruptions"][kind] = {"count": COUNT, "seconds": []}
        load = rig.Load()
        for _ in range(COUNT):
            interrupt(kind, figures)
            time.sleep(PAUSE)
        figures["load"] = load.end()
        figures["sts"] = rig.difference(rig.judged(), judged)
        judged = rig.judged()
        print(f"{kind}: {COUNT} times", flush=True)
    report["crash loop"] = {"restarts": crash_loop(5)}
    report["crash loop"]["sts"] = rig.difference(rig.judged(), judged)
    report["port"] = squatter.end()


def problems(report):
    """What is not as it must be."""
    for kind, figures in report["interruptions"].items():
        plain_too = KINDS[kind][1]
        for client, seen in figures["load"].items():
            if seen["failed"] and (plain_too or client == "sdk"):
                yield f"{kind}: {seen['failed']} failed fetches of {client}: {seen['examples']}"
            if seen["fetches"] < COUNT:
                yield f"{kind}: {client} made no load, with {seen['fetches']} fetches"
            if len(seen["keys"]) != 1:
                yield f"{kind}: {client} saw {len(seen['keys'])} sets, where one is still good"
        if figures["sts"]:
            yield f"{kind}: STS was asked {figures['sts']}"
    if report["crash loop"]["sts"]:
        yield f"the crash loop: STS was asked {report['crash loop']['sts']}"
    if report["port"]["taken"]:
        yield f"the port was free {len(report['port']['taken'])} times"
    expected = {"GetSessionToken": 1, "AssumeRole": len(ROLES)}
    if report["sts"]["actions"] != expected or report["sts"]["rejected"]:
        yield f"STS was asked {report['sts']}"
    if "403" not in str(report["stranger"]):
        yield f"a stranger was answered {report['stranger']}"
    yield from report["journal"]["problems"]
    yield from report["person"]
    yield from report["secrets"]


def main():
    report = {"count": COUNT, "interruptions": {}}
    outcome = "failed before the end"
    try:
        install()
        interruptions(report)
        report["stranger"] = rig.stranger()
        report["sts"] = rig.judged()
        report["journal"] = rig.journal()
        report["exposure"] = rig.run("systemd-analyze", "security", "--no-pager", "credd.service")
        report["exposure"] = report["exposure"].strip().splitlines()[-1]
        report["secrets"] = rig.secrets_found("in use")
        report["person"] = list(person.check())
        rig.run("dpkg", "--purge", "credd")
        purged = "after the purge"
        report["secrets"] += rig.secrets_found(purged) + rig.leftovers(purged, "/etc/credd")
        report["secrets"] += other_package()
        outcome = list(problems(report))
    finally:
        report["problems"] = outcome
        pathlib.Path("/opt/out/report.json").write_text(json.dumps(report, indent=1))
        with open("/opt/out/journal.txt", "w") as file:
            subprocess.run(["journalctl", "--no-pager", "-n", "4000", "-o", "short-precise"], stdout=file)
    sys.exit(bool(outcome))


main()
