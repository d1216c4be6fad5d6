"""An STS that judges signatures by botocore's own signer, and issues sets of roles that live for
seconds.

Says its address in one line on standard output. `GET /counts` tells how many signatures were right
and wrong, and what was wrong with the latter."""

import argparse
import base64
import datetime
import hashlib
import hmac
import http.server
import json
import re
import threading
import urllib.parse
import xml.sax.saxutils

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/(\d{8})/([^/, ]+)/sts/aws4_request, *"
    r"SignedHeaders=([^, ]+), *Signature=([0-9a-f]{64})"
)
XMLNS = "https://sts.amazonaws.com/doc/2011-06-15/"
ACCOUNT = "123456789012"
# AWS takes what is signed within five minutes of its time.
TOLERANCE = datetime.timedelta(minutes=5)
# Of GetSessionToken, in seconds, where it is not asked for.
SESSION = 12 * 60 * 60


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code = status, code


class Misjudged(Refused):
    """Of a signature, or of none where one is needed."""

    def __init__(self, message):
        super().__init__(403, "SignatureDoesNotMatch", message)


class Caller:
    def __init__(self, credentials, arn, expiry=None):
        self.credentials, self.arn, self.expiry = credentials, arn, expiry


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Judge:
    def __init__(self, arguments):
        self.lifetime = datetime.timedelta(seconds=arguments.lifetime)
        self.mfa_serial, self.codes = arguments.mfa_serial, set(arguments.mfa_code)
        self.mfa_secret, self.last_step = arguments.mfa_secret, 0
        self.web_identities = set(arguments.web_identity)
        user = Credentials(arguments.key, arguments.secret)
        self.callers = {arguments.key: Caller(user, f"arn:aws:iam::{ACCOUNT}:user/judged")}
        self.lock = threading.Lock()
        self.issued, self.accepted, self.refusals, self.actions = 0, 0, [], {}

    def counts(self):
        with self.lock:
            counts = {"accepted": self.accepted, "rejected": len(self.refusals)}
            return json.dumps({**counts, "refusals": self.refusals, "actions": self.actions})

    def answer(self, path, headers, body):
        with self.lock:
            try:
                return 200, self.decide(path, headers, body)
            except Refused as refused:
                if isinstance(refused, Misjudged):
                    self.refusals.append(str(refused))
                return refused.status, (
                    f'<ErrorResponse xmlns="{XMLNS}"><Error><Type>Sender</Type>'
                    f"{element('Code', refused.code)}{element('Message', str(refused))}"
                    "</Error><RequestId>a-request</RequestId></ErrorResponse>"
                )

    def decide(self, path, headers, body):
        kind = headers.get_content_type()
        if kind != "application/x-www-form-urlencoded":
            raise Refused(400, "MalformedInput", f"a call is no {kind}")
        pairs = urllib.parse.parse_qsl(
            body.decode(), keep_blank_values=True, strict_parsing=True, errors="strict"
        )
        parameters = dict(pairs)
        action = parameters.get("Action")
        if len(parameters) != len(pairs) or parameters.get("Version") != "2011-06-15":
            raise Refused(400, "MalformedInput", "twice the same parameter, or another version")
        self.actions[action] = self.actions.get(action, 0) + 1
        if action == "AssumeRoleWithWebIdentity":
            if "Authorization" in headers:
                raise Misjudged(f"{action} is signed, which shows a key to no end")
            return self.assume_role_with_web_identity(parameters)
        caller = self.caller(path, headers, body)
        self.accepted += 1
        if action == "AssumeRole":
            return self.assume_role(parameters)
        if action == "GetSessionToken":
            return self.session_token(caller, parameters)
        if action == "GetCallerIdentity":
            key = caller.credentials.access_key
            fields = {"Arn": caller.arn, "UserId": key, "Account": ACCOUNT}
            return result(action, elements(fields))
        if action == "DecodeAuthorizationMessage":
            message = parameters["EncodedMessage"]
            return result(action, element("DecodedMessage", json.dumps({"encoded": message})))
        raise Refused(400, "InvalidAction", f"Could not find operation {action}")

    def caller(self, path, headers, body):
        authorization = AUTHORIZATION.fullmatch(headers.get("Authorization", ""))
        if not authorization:
            raise Misjudged(f"no signature for STS: {headers.get('Authorization')}")
        key, date, region, names, signature = authorization.groups()
        caller = self.callers.get(key)
        if not caller:
            raise Refused(403, "InvalidClientTokenId", "The security token included in the "
                          "request is invalid.")
        if caller.expiry and caller.expiry <= now():
            raise Refused(403, "ExpiredToken", "The security token included in the request is "
                          "expired")
        token = headers.get("X-Amz-Security-Token")
        if token != caller.credentials.token:
            raise Misjudged("the session token is another set's")
        names = names.split(";")
        needed = [name for name in map(str.lower, headers) if name.startswith("x-amz-")]
        for name in ["host", "x-amz-date", *needed]:
            if name not in names:
                raise Misjudged(f"{name} is not signed")
        time = headers.get("X-Amz-Date", "")
        try:
            signed_at = datetime.datetime.strptime(time, SIGV4_TIMESTAMP)
        except ValueError:
            raise Misjudged(f"{time} is no time") from None
        if abs(signed_at.replace(tzinfo=datetime.timezone.utc) - now()) > TOLERANCE:
            raise Misjudged(f"Signature expired: {time} is not within 5 min.")
        claimed = headers.get("X-Amz-Content-SHA256")
        if claimed and claimed != hashlib.sha256(body).hexdigest():
            raise Misjudged("X-Amz-Content-SHA256 is not that of the body")
        request = AWSRequest("POST", f"http://{headers['Host']}{path}", data=body)
        for name, value in headers.items():
            if name.lower() in names:
                request.headers[name] = value
        # As `add_auth` does, but at the time that the request gives.
        request.context["timestamp"] = time
        signer = SigV4Auth(caller.credentials, "sts", region)
        canonical = signer.canonical_request(request)
        text = signer.string_to_sign(request, canonical)
        expected = signer.signature(text, request)
        if (date, names, signature) != (time[:8], canonical.split("\n")[-2].split(";"), expected):
            raise Misjudged(f"botocore signs otherwise:\n{canonical}\n{text}")
        return caller

    def assume_role(self, parameters):
        return result("AssumeRole", self.role_set(parameters))

    def assume_role_with_web_identity(self, parameters):
        if parameters["WebIdentityToken"] not in self.web_identities:
            raise Refused(400, "InvalidIdentityToken", "No OpenIDConnect provider found in your "
                          "account for https://oidc.example.com")
        subject = element("SubjectFromWebIdentityToken", "system:serviceaccount:team:app")
        return result("AssumeRoleWithWebIdentity", self.role_set(parameters) + subject)

    def role_set(self, parameters):
        role, name = parameters["RoleArn"], parameters["RoleSessionName"]
        _, _, _, _, account, resource = role.split(":", 5)
        arn = f"arn:aws:sts::{account}:assumed-role/{resource.split('/')[-1]}/{name}"
        user = elements({"AssumedRoleId": f"AROAPRETEND:{name}", "Arn": arn})
        return self.new_set(arn, self.lifetime) + f"<AssumedRoleUser>{user}</AssumedRoleUser>"

    def session_token(self, caller, parameters):
        if caller.credentials.token:
            raise Refused(403, "AccessDenied", "Cannot call GetSessionToken with session "
                          "credentials")
        if self.mfa_serial:
            shown = parameters.get("SerialNumber"), parameters.get("TokenCode")
            if shown[0] != self.mfa_serial or not self.take_code(shown[1]):
                raise Refused(403, "AccessDenied", "MultiFactorAuthentication failed with invalid "
                              "MFA one time pass code.")
        lifetime = datetime.timedelta(seconds=int(parameters.get("DurationSeconds", SESSION)))
        return result("GetSessionToken", self.new_set(caller.arn, lifetime))

    def take_code(self, code):
        if code in self.codes:
            self.codes.remove(code)
            return True
        # As the IAM user guide has it: once, and from a clock that may be a little off.
        step = int(now().timestamp()) // 30
        for step in [step - 1, step, step + 1]:
            if self.mfa_secret and step > self.last_step and code == totp(self.mfa_secret, step):
                self.last_step = step
                return True
        return False

    def new_set(self, arn, lifetime):
        self.issued += 1
        # Of the form that tests count sets by.
        key = f"ASIAPRETEND{self.issued:09}"
        secret, token = f"a-secret+/{self.issued}", f"a-session+/={self.issued}"
        expiry = now() + lifetime
        self.callers[key] = Caller(Credentials(key, secret, token), arn, expiry)
        fields = {"AccessKeyId": key, "SecretAccessKey": secret, "SessionToken": token}
        fields["Expiration"] = expiry.strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"<Credentials>{elements(fields)}</Credentials>"


def totp(secret, step):
    """RFC 6238, with six digits and SHA-1, as virtual devices are for AWS."""
    digest = hmac.digest(base64.b32decode(secret), step.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**6:06}"


def element(name, text):
    return f"<{name}>{xml.sax.saxutils.escape(text)}</{name}>"


def elements(fields):
    return "".join(element(name, text) for name, text in fields.items())


def result(action, inner):
    return (
        f'<{action}Response xmlns="{XMLNS}"><{action}Result>{inner}</{action}Result>'
        f"<ResponseMetadata><RequestId>a-request</RequestId></ResponseMetadata></{action}Response>"
    )


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.respond(200, "application/json", self.server.judge.counts())

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            status, text = self.server.judge.answer(self.path, self.headers, body)
        except (KeyError, ValueError) as error:
            fields = {"Code": "MalformedInput", "Message": repr(error)}
            status, text = 400, f"<ErrorResponse><Error>{elements(fields)}</Error></ErrorResponse>"
        self.respond(status, "text/xml", text)

    def respond(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


parser = argparse.ArgumentParser()
parser.add_argument("--lifetime", type=int, required=True, help="of a role's set, in seconds")
parser.add_argument("--key", required=True)
parser.add_argument("--secret", required=True)
parser.add_argument("--mfa-serial", help="GetSessionToken needs a code of this device")
parser.add_argument("--mfa-code", action="append", default=[], help="good once")
parser.add_argument("--mfa-secret", help="of the device, in base32")
parser.add_argument("--web-identity", action="append", default=[], help="a token that is taken")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.judge = Judge(parser.parse_args())
print(f"127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
