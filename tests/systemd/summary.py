"""Prints the figures of the end-to-end test as a table, and what is not as it must be."""

import json
import sys

with open(sys.argv[1]) as file:
    report = json.load(file)
for kind, figures in report["interruptions"].items():
    if "load" not in figures:
        continue
    seconds = sorted(figures["seconds"])
    middle, most = seconds[len(seconds) // 2], seconds[-1]
    print(f"{kind}, {len(seconds)} times: all identities again after {middle:.2f} s, at most {most:.2f} s")
    for client, seen in figures["load"].items():
        print(f"    {client:5} {seen['fetches']:7} fetches, {seen['failed']} failed,"
              f" slowest {seen['slowest']:.2f} s")
    print(f"    STS {figures['sts'] or 'not asked'}")
if "crash loop" in report:
    print(f"crash loop: {report['crash loop']}")
if "port" in report:
    port = report["port"]
    print(f"port: free at {len(port['taken'])} of {port['tries']} tries,"
          f" at most {1000 * port['longest']:.1f} ms apart")
for key in ["stranger", "sts", "exposure", "journal"]:
    if key in report:
        print(f"{key}: {report[key]}")
for problem in report["problems"] if isinstance(report["problems"], list) else [report["problems"]]:
    print(f"PROBLEM: {problem}")
sys.exit(bool(report["problems"]))
