//! Secrets that systemd encrypts for a service.

use std::error::Error;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::expect;

/// A folder that only its owner can enter, with a secret as `LoadCredentialEncrypted=` would put it
/// there: encrypted with the key of a host, here one made for this, and decrypted again. None where
/// there is no systemd-creds.
pub(super) fn decrypted(name: &str, secret: &str) -> Result<Option<TempDir>, Box<dyn Error>> {
    let (host, folder) = (TempDir::new()?, TempDir::new()?);
    let run = |words: &[&str], input: &[u8]| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut child = Command::new("systemd-creds")
            .args(words)
            .env("SYSTEMD_CREDENTIAL_SECRET", host.path().join("secret"))
            .current_dir(host.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().ok_or("no stdin")?.write_all(input)?;
        let output = child.wait_with_output()?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(format!("systemd-creds {words:?}: {error}").into())
        }
    };
    if Command::new("systemd-creds")
        .arg("--version")
        .output()
        .is_err()
    {
        return Ok(None);
    }
    run(&["setup"], b"")?;
    let option = format!("--name={name}");
    let words = ["encrypt", "--with-key=host", &option, "-", "-"];
    let encrypted = run(&words, secret.as_bytes())?;
    let is_legible = encrypted
        .windows(secret.len())
        .any(|part| part == secret.as_bytes());
    expect(&is_legible, &false)?;
    let decrypted = run(&["decrypt", &option, "-", "-"], &encrypted)?;
    let file = folder.path().join(name);
    std::fs::write(&file, decrypted)?;
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o400))?;
    Ok(Some(folder))
}
