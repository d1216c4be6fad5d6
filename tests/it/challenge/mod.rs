//! MFA codes: asked for, answered, and never sent twice.

mod announcements;
mod desk;
mod people;
mod used;

use std::sync::Arc;
use std::time::Duration;

use credd::challenge::{Challenges, MfaCode, Subject, UsedCodes};
use credd::clock::{Clock, Timestamp};
use credd::credentials::Warnings;
use credd::identity::IdentityName;
use tempfile::TempDir;

use crate::support::clock::TestClock;

const SERIAL: &str = "arn:aws:iam::123456789012:mfa/ops";

fn code(digits: &str) -> MfaCode {
    crate::support::sinks::secret(digits);
    MfaCode::parse(digits).unwrap()
}

fn subject(identity: &str, serial: &str) -> Subject {
    Subject {
        identity: IdentityName::parse(identity).unwrap(),
        serial: serial.to_owned(),
    }
}

/// A daemon's desks, their clock and their directory.
struct Office {
    clock: Arc<TestClock>,
    challenges: Arc<Challenges>,
    folder: TempDir,
}

impl Office {
    fn new() -> Self {
        let (clock, folder) = (TestClock::new(), tempfile::tempdir().unwrap());
        let challenges = challenges(&folder, &clock);
        Self {
            clock,
            challenges,
            folder,
        }
    }

    /// The process ends and another begins.
    fn restart(&mut self) {
        self.challenges = challenges(&self.folder, &self.clock);
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn tomorrow(&self) -> Timestamp {
        self.now().plus(Duration::from_hours(24))
    }
}

fn challenges(folder: &TempDir, clock: &Arc<TestClock>) -> Arc<Challenges> {
    let path = folder.path().join("used-codes");
    let used = UsedCodes::load(path, [7; 32], clock.boot());
    Challenges::new(used, Arc::<TestClock>::clone(clock), Warnings::default())
}
