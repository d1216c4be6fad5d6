//! moto as a server: instance metadata and STS that no one here wrote.
//!
//! Its STS, at 5.2.5, looks at no secret, session token, MFA code, trust or limit of a duration. It
//! tells callers apart by the access key id alone: a session of `GetSessionToken` has the same keys
//! for everybody and is `user/moto`, one of a role is who it should be. Every `Expiration` has
//! microseconds. `DecodeAuthorizationMessage` ends in a 500 of HTML, and `AssumeRole` without an
//! `Authorization` goes to S3, whose answer is a 200 of other XML.

use std::error::Error;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Moto {
    pub(super) address: SocketAddr,
    child: Child,
}

impl Moto {
    /// Waits until it takes connections.
    pub(super) fn start(tools: &Path) -> Result<Self, Box<dyn Error>> {
        // moto takes a port but does not tell one.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(tools.join("venv/bin/moto_server"))
            .args(["--host", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut moto = Self { address, child };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = moto.child.try_wait()? {
                return Err(format!("moto ended with {status}").into());
            }
            if Instant::now() > deadline {
                return Err("moto does not answer".into());
            }
            std::thread::sleep(POLL);
        }
        Ok(moto)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
