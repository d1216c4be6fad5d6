//! All that the suite logs and says, and the secrets that it uses, kept in the folder that
//! `CREDD_TEST_TRACE` names for tests/canaries, which searches the one for the others.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use credd::environment::Environment;

static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let environment = Environment::of_process();
    environment.variable("CREDD_TEST_TRACE").map(PathBuf::from)
});

/// Whether anything is kept.
pub(crate) fn are_kept() -> bool {
    FOLDER.is_some()
}

/// A file of this process in the folder.
fn open(name: &str) -> Option<File> {
    let path = FOLDER
        .as_ref()?
        .join(format!("{}-{name}", std::process::id()));
    let file = OpenOptions::new().create(true).append(true).open(path);
    Some(file.unwrap())
}

/// Keeps what `source` said.
pub(crate) fn keep(source: &str, bytes: &[u8]) {
    // Each whole in one write, since tests run beside each other.
    if let Some(mut file) = open(source) {
        file.write_all(bytes).unwrap();
    }
}

/// Takes down that a test uses `secret`, which no log may hold.
pub(crate) fn secret(secret: &str) {
    static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if are_kept() && KNOWN.lock().unwrap().insert(secret.to_owned()) {
        keep("secrets", format!("{secret}\n").as_bytes());
    }
}

/// Has the daemon that `command` may be log all that it can.
pub(crate) fn trace(command: &mut Command) {
    if are_kept() && command.get_args().any(|word| word == "serve") {
        command.env("CREDD_LOG", "trace");
    }
}

/// Collects the log of every thread of this process that has no [`super::journal::Journal`] of its
/// own, from before `main` on, so that no test can come before it.
#[used]
#[expect(unsafe_code, reason = "there is no other place before `main`")]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn collect() {
        if let Some(file) = open("in-process.log") {
            let subscriber = tracing_subscriber::fmt()
                .with_writer(Mutex::new(file))
                .with_max_level(tracing::Level::TRACE)
                .with_ansi(false)
                .without_time()
                .finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        }
    }
    collect
};
