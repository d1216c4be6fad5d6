//! The signatures that the AWS C SDK and smithy-rs check themselves by, where `CREDD_VECTORS` names
//! the folder that holds them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use credd::aws::region::Region;
use credd::aws::sigv4::{CanonicalRequest, Scope, authorization, normalized, sign, string_to_sign};
use credd::clock::Timestamp;
use credd::credentials::{Credentials, Principal};
use credd::environment::Environment;
use credd::os::files;
use credd::secret::Secret;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use serde_json::Value;

use crate::support::news::tell;

/// Its request and its canonical request are of different years.
const CONTRADICTORY: &str = "double-encode-path";

#[test]
fn every_shared_case_of_the_header_form_has_its_signature() {
    let Some(folder) = folder() else {
        return;
    };
    let (mut passed, mut signed) = (0, 0);
    for (suite, cases) in [("aws-c-auth", 38), ("smithy-rs-extra", 3)] {
        let names = names(&folder.join(suite));
        assert_eq!(names.len(), cases, "{suite}");
        for name in names {
            if name == CONTRADICTORY {
                tell(&format!(
                    "skipped: {suite}/{name}, whose dates contradict each other"
                ));
                continue;
            }
            let case = Case::read(&folder.join(suite).join(&name));
            case.has_its_signature();
            passed += 1;
            if case.is_signed_as_a_whole() {
                signed += 1;
            }
        }
    }
    // The others have a path that no URI can hold, or that is signed as S3 alone wants it.
    assert_eq!((passed, signed), (40, 31));
    tell(&format!(
        "{passed} shared signatures passed, {signed} of them of whole requests"
    ));
}

struct Case {
    folder: PathBuf,
    method: Method,
    /// As they stand in the request, encoded or not.
    path: String,
    query: String,
    headers: HeaderMap,
    body: String,
    context: Value,
}

impl Case {
    fn read(folder: &Path) -> Self {
        let request = text(folder, "request.txt").unwrap();
        let (head, body) = request.split_once("\n\n").unwrap_or((&request, ""));
        // A line that begins with a blank goes on with the header before it (RFC 9112, 5.2).
        let head = head.replace("\n ", " ");
        let mut lines = head.lines();
        let line = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap();
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value.trim()).unwrap(),
            ))
        });
        let mut collected = HeaderMap::new();
        for (name, value) in headers {
            collected.append(name, value);
        }
        let context = text(folder, "context.json").unwrap_or_else(|| LAMBDA.to_owned());
        Self {
            folder: folder.to_owned(),
            method: method.parse().unwrap(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: collected,
            body: body.to_owned(),
            context: serde_json::from_str(&context).unwrap(),
        }
    }

    fn is_of_smithy(&self) -> bool {
        self.folder.parent().unwrap().ends_with("smithy-rs-extra")
    }

    fn has_its_signature(&self) {
        let mut headers = self.headers.clone();
        headers.insert("x-amz-date", HeaderValue::try_from(self.date()).unwrap());
        if let Some(token) = &self.credentials().session_token {
            let token = HeaderValue::from_str(token.expose()).unwrap();
            headers.insert("x-amz-security-token", token);
        }
        self.add_hash(&mut headers);
        let path = if self.context["normalize"] == true {
            normalized(&self.path)
        } else {
            self.path.clone()
        };
        // smithy-rs signs this one as for S3, whose paths are encoded once in all.
        let path = if self.is_of_smithy() && self.folder.ends_with("get-space-normalized") {
            path.replace("%20", " ")
        } else {
            path
        };
        let body = self.body.as_bytes();
        let canonical = CanonicalRequest::of(&self.method, &path, &self.query, &headers, body);
        let (region, now) = (self.region(), self.now());
        let scope = self.scope(&region);
        let expected = text(&self.folder, "header-canonical-request.txt").unwrap();
        let folder = self.folder.display();
        assert_eq!(
            std::str::from_utf8(canonical.expose()).unwrap(),
            expected,
            "{folder}"
        );
        let expected = text(&self.folder, "header-string-to-sign.txt").unwrap();
        assert_eq!(
            string_to_sign(&canonical, scope, now),
            expected.trim_end(),
            "{folder}"
        );
        let found = authorization(&canonical, &self.credentials(), scope, now).unwrap();
        assert_eq!(found, self.authorization(), "{folder}");
    }

    /// Signs the case as credd signs its requests, where such a request can be.
    fn is_signed_as_a_whole(&self) -> bool {
        let target = format!("{}?{}", self.path, self.query);
        let target = target.trim_end_matches('?');
        let host = self.headers["host"].to_str().unwrap();
        let uri = format!("https://{host}{target}").parse::<Uri>();
        let is_as_s3 = self.context["normalize"] == false
            || self.is_of_smithy() && self.folder.ends_with("get-space-normalized");
        let Some(uri) = uri.ok().filter(|_| !is_as_s3) else {
            return false;
        };
        let mut request = Request::new(Bytes::from(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        self.add_hash(request.headers_mut());
        let region = self.region();
        let scope = self.scope(&region);
        sign(&mut request, &self.credentials(), scope, self.now()).unwrap();
        assert_eq!(request.headers()["x-amz-date"], self.date());
        let folder = self.folder.display();
        assert_eq!(
            request.headers()[AUTHORIZATION],
            self.authorization(),
            "{folder}"
        );
        true
    }

    /// What S3 wants to be told of the body stands in the signed request.
    fn add_hash(&self, headers: &mut HeaderMap) {
        if self.context["sign_body"] == true {
            let hash = self.signed_header("x-amz-content-sha256");
            headers.insert("x-amz-content-sha256", hash.parse().unwrap());
        }
    }

    fn authorization(&self) -> String {
        self.signed_header("authorization")
    }

    fn signed_header(&self, name: &str) -> String {
        let signed = text(&self.folder, "header-signed-request.txt").unwrap();
        let value = signed.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found
                .eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        });
        value.unwrap()
    }

    fn credentials(&self) -> Credentials {
        let context = &self.context["credentials"];
        // Where it is omitted, the token is added after signing.
        let token = context["token"]
            .as_str()
            .filter(|_| self.context["omit_session_token"] != true);
        let secret = |text: &str| Secret::from(text.to_owned());
        Credentials {
            access_key_id: context["access_key_id"].as_str().unwrap().to_owned().into(),
            secret_access_key: secret(context["secret_access_key"].as_str().unwrap()),
            session_token: token.map(secret),
            expiry: None,
            account_id: None,
            role_arn: None,
            principal: Principal::Unknown,
        }
    }

    fn region(&self) -> Region {
        Region::parse(self.context["region"].as_str().unwrap()).unwrap()
    }

    fn scope<'a>(&'a self, region: &'a Region) -> Scope<'a> {
        Scope {
            region,
            service: self.context["service"].as_str().unwrap(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::parse(self.context["timestamp"].as_str().unwrap()).unwrap()
    }

    fn date(&self) -> String {
        self.now().to_string().replace(['-', ':'], "")
    }
}

/// Of `double-url-encode`, which smithy-rs keeps in the test itself.
const LAMBDA: &str = r#"{
    "credentials": {
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    },
    "normalize": true, "region": "us-east-2", "service": "lambda", "sign_body": false,
    "timestamp": "2021-05-11T15:40:45Z"
}"#;

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn text(folder: &Path, file: &str) -> Option<String> {
    let text = files::read_text_now(&folder.join(file), 64 * 1024).ok()?;
    Some(text.to_string())
}

fn folder() -> Option<PathBuf> {
    let environment = Environment::of_process();
    let folder = environment.variable("CREDD_VECTORS").map(PathBuf::from);
    if folder.is_none() {
        tell("skipped: CREDD_VECTORS does not name a folder of test vectors");
    }
    Some(folder?.join("sigv4"))
}
