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

    /// With sets that live for `lifetime`, and with a device that has `codes`, each good once, if
    /// there are any. Its sets have the access key ids that `Upstream::number_of` reads.
    pub(super) fn start(
        tools: &Path,
        lifetime: Duration,
        codes: &[&str],
    ) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(tools.join("venv/bin/python"));
        command
            .arg(tools.join("sts_judge.py"))
            .args(["--key", Self::KEY, "--secret", Self::SECRET])
            .args(["--web-identity", Self::WEB_IDENTITY, "--lifetime"])
            .arg(lifetime.as_secs().to_string());
        if !codes.is_empty() {
            command.args(["--mfa-serial", Self::SERIAL]);
        }
        for code in codes {
            command.args(["--mfa-code", code]);
        }
        let mut child = command
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
