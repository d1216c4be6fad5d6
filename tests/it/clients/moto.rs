//! moto as a server: instance metadata and STS that no one here wrote.

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
