//! An STS by botocore's own signer, which refuses whatever is signed in another way.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

pub(super) struct Judge {
    pub(super) address: SocketAddr,
    child: Child,
}

/// What the judge has seen so far.
#[derive(Debug, Deserialize)]
pub(super) struct Counts {
    /// Calls that were signed as botocore signs them.
    pub(super) accepted: usize,
    /// Calls that were not, `AssumeRoleWithWebIdentity` with a signature among them.
    pub(super) rejected: usize,
    /// What was wrong with those.
    pub(super) refusals: Vec<String>,
    /// By action, whatever came of them.
    pub(super) actions: BTreeMap<String, usize>,
}

impl Judge {
    /// The user that it knows.
    pub(super) const KEY: &str = "AKIAJUDGED000001";
    pub(super) const SECRET: &str = "a-secret+of/the=judged";
    pub(super) const SERIAL: &str = "arn:aws:iam::123456789012:mfa/judged";
    /// The token that it takes for an identity.
    pub(super) const WEB_IDENTITY: &str = "a+web/identity=token";

    /// With roles whose sets live for `lifetime`, sessions that live as long as is asked, and with
    /// a device that has `codes`, each good once, if there are any. Its sets have the access key
    /// ids that `Upstream::number_of` reads.
    pub(super) fn start(
        tools: &Path,
        lifetime: Duration,
        codes: &[&str],
    ) -> Result<Self, Box<dyn Error>> {
        let mut device = Vec::new();
        if !codes.is_empty() {
            device.extend(["--mfa-serial", Self::SERIAL]);
        }
        for code in codes {
            device.extend(["--mfa-code", code]);
        }
        Self::with_device(tools, lifetime, &device)
    }

    /// With a device whose codes follow from a secret in base32, each of them good once.
    pub(super) fn with_totp(
        tools: &Path,
        lifetime: Duration,
        secret: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let device = ["--mfa-serial", Self::SERIAL, "--mfa-secret", secret];
        Self::with_device(tools, lifetime, &device)
    }

    fn with_device(
        tools: &Path,
        lifetime: Duration,
        device: &[&str],
    ) -> Result<Self, Box<dyn Error>> {
        let mut child = Command::new(tools.join("venv/bin/python"))
            .arg(tools.join("sts_judge.py"))
            .args(["--key", Self::KEY, "--secret", Self::SECRET])
            .args(["--web-identity", Self::WEB_IDENTITY, "--lifetime"])
            .arg(lifetime.as_secs().to_string())
            .args(device)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let mut judge = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            child,
        };
        let mut line = String::new();
        // A judge that ends without a word ends this too.
        BufReader::new(stdout).read_line(&mut line)?;
        judge.address = line
            .trim()
            .parse()
            .map_err(|_| format!("the judge says `{line}`; was it prepared by tests/prepare?"))?;
        Ok(judge)
    }

    pub(super) fn counts(&self) -> Result<Counts, Box<dyn Error>> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "GET /counts HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no counts")?;
        Ok(serde_json::from_str(body)?)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
