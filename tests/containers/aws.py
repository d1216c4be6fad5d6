"""What a container finds of AWS and of its orchestrator in the tests' network namespace: the ECS
agent, STS by plain HTTP and by a TLS that nobody vouches for, and a DNS server.

Prints `ready` once all of them listen."""

import http.server
import json
import re
import socketserver
import ssl
import struct
import sys
import threading
import time
import urllib.parse

AGENT = ("169.254.170.2", 80)
STS = ("127.0.0.1", 4566)
UNVOUCHED = ("127.0.0.1", 8443)
DNS = ("127.0.0.1", 53)

TASK_KEY = "ASIATASKROLE00000001"
HOSTS = {"sts.by-dns.test": "127.0.0.1"}


def expiry(hours):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600 * hours))


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, status, kind, body):
        body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Agent(Handler):
    def do_GET(self):
        if self.path != "/v2/credentials/task":
            self.reply(400, "application/json", '{"code":"InvalidIdInRequest","message":"no"}')
            return
        answer = {
            "RoleArn": "arn:aws:iam::123456789012:role/shop-task",
            "AccessKeyId": TASK_KEY,
            "SecretAccessKey": "secret",
            "Token": "token",
            "Expiration": expiry(6),
        }
        self.reply(200, "application/json", json.dumps(answer))


class Sts(Handler):
    """Gives a session of any role to the task's role, and to any web identity: the access key id
    names the role."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in urllib.parse.parse_qs(body).items()}
        action = form["Action"]
        is_known = TASK_KEY in self.headers.get("Authorization", "")
        is_known = is_known or "ASIAORDERSPOD" in self.headers.get("Authorization", "")
        if action == "AssumeRoleWithWebIdentity":
            is_known = form["WebIdentityToken"] == "web-identity"
        if action not in ("AssumeRole", "AssumeRoleWithWebIdentity") or not is_known:
            self.reply(403, "text/xml", "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
            return
        role = form["RoleArn"].rpartition("/")[2]
        key = "ASIA" + re.sub("[^A-Z]", "", role.upper()).ljust(16, "0")
        arn = f"arn:aws:sts::123456789012:assumed-role/{role}/{form['RoleSessionName']}"
        self.reply(
            200,
            "text/xml",
            f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<{action}Result><AssumedRoleUser><Arn>{arn}</Arn>"
            f"<AssumedRoleId>AROATEST:s</AssumedRoleId></AssumedRoleUser><Credentials>"
            f"<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>"
            f"<SessionToken>token</SessionToken><Expiration>{expiry(1)}</Expiration>"
            f"</Credentials></{action}Result><ResponseMetadata><RequestId>r</RequestId>"
            f"</ResponseMetadata></{action}Response>",
        )


class Dns(socketserver.BaseRequestHandler):
    """Answers questions for addresses (RFC 1035, section 4)."""

    def handle(self):
        question, socket = self.request
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        (kind,) = struct.unpack_from("!H", question, at + 1)
        address = HOSTS.get(".".join(labels).lower())
        has_answer = address is not None and kind == 1
        code = 0 if address else 3
        head = question[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, has_answer, 0, 0)
        answer = head + question[12 : at + 5]
        if has_answer:
            bytes_of = bytes(int(part) for part in address.split("."))
            answer += struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + bytes_of
        socket.sendto(answer, self.client_address)


def main():
    certificate, key = sys.argv[1:3]
    tls = http.server.ThreadingHTTPServer(UNVOUCHED, Sts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    tls.handle_error = lambda *_: None
    tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
    servers = [
        http.server.ThreadingHTTPServer(AGENT, Agent),
        http.server.ThreadingHTTPServer(STS, Sts),
        socketserver.ThreadingUDPServer(DNS, Dns),
        tls,
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


main()
