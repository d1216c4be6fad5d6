//! What outlasts the daemon: sessions and sets, in memory that a service manager keeps, and nothing
//! else.

mod damage;
mod definitions;
mod manager;
mod places;
mod restarts;
mod restoring;

use std::collections::BTreeMap;
use std::process::Command;

use credd::os::files;
use serde_json::Value;

use crate::commands::aws::{OPS, configure, credd, with_keys, write_profiles};
use crate::serving::eventually;
use crate::serving::program::{Place, Running};
use crate::support::fake_aws::{FakeAws, Role};
use manager::Manager;

const SERIAL: &str = "arn:aws:iam::123456789012:mfa/ops";
const BILLING: &str = "arn:aws:iam::123456789012:role/billing";
const AUDIT: &str = "arn:aws:iam::123456789012:role/audit";
const DEPLOY: &str = "arn:aws:iam::123456789012:role/deploy";

/// One of each way: a session with a code, a role from it, roles by a profile whose hops nobody
/// named, and the session of keys that are in the environment.
const NAMES: [&str; 4] = ["ops-mfa", "billing", "audited", "by-environment"];

/// Another user, whose keys are in the profile files.
const FILED: &str = "arn:aws:iam::123456789012:user/filed";
const FILED_KEY: &str = "AKIAFAKEUSER0002";
const FILED_SECRET: &str = "CANARY-filed";

/// A daemon under a service manager, beside an AWS.
struct Service<'a> {
    aws: &'a FakeAws,
    place: Place,
    manager: Manager,
}

impl<'a> Service<'a> {
    /// Configured, and not started.
    fn new(aws: &'a FakeAws) -> Self {
        manager::reserve_numbers();
        let place = Place::bare();
        aws.mfa_device(OPS, SERIAL);
        aws.mfa_codes(SERIAL, &["111111"]);
        aws.user(FILED_KEY, FILED_SECRET, FILED);
        for role in [BILLING, DEPLOY] {
            aws.role(Role::new(role).trusting(OPS).requiring_mfa());
        }
        aws.role(Role::new(AUDIT).trusting(FILED));
        let secret = place.folder().join("secret");
        files::write_private(&secret, crate::commands::aws::OPS_SECRET.as_bytes()).unwrap();
        profiles(&place, AUDIT);
        configure(
            &place,
            &format!(
                r#"
                [identity.ops]
                provider = "keys"
                access-key-id = "{}"
                secret-access-key = "file:{}"
                [identity.ops-mfa]
                provider = "session-token"
                from = "ops"
                mfa-serial = "{SERIAL}"
                [identity.billing]
                provider = "assume-role"
                from = "ops-mfa"
                role-arn = "{BILLING}"
                [identity.audited]
                provider = "profile"
                profile = "audit"
                [identity.by-environment]
                provider = "environment"
                "#,
                crate::commands::aws::OPS_KEY,
                secret.display(),
            ),
        );
        Self {
            aws,
            place,
            manager: Manager::new(),
        }
    }

    fn command(&self) -> Command {
        let mut command = credd(&self.place, self.aws, &["serve"]);
        with_keys(&mut command);
        command
    }

    /// Started, and not waited for.
    fn begin(&self) -> Running {
        let log = self.place.folder().join("log");
        Running::start(&mut self.manager.start(&self.command()), &log)
    }

    /// Started, and answering.
    fn start(&self) -> Running {
        self.place.serving(&mut self.manager.start(&self.command()))
    }

    /// Started, with a session that took a code, and every identity served.
    fn settle(&self) -> Running {
        let daemon = self.start();
        self.place.answer("111111");
        self.sets();
        daemon
    }

    /// What each identity gives, once it does.
    fn sets(&self) -> BTreeMap<&'static str, Value> {
        let get = |name: &&'static str| {
            let set = eventually(name, || {
                let said = self.place.run(&["get", name]);
                said.is_success().then(|| said.json())
            });
            (*name, set)
        };
        NAMES.iter().map(get).collect()
    }

    fn log(&self) -> String {
        let log = self.place.folder().join("log");
        files::read_text_now(&log, 16 * 1024 * 1024)
            .unwrap()
            .to_string()
    }
}

/// Writes `~/.aws`, with a profile whose hops end in the keys of a user.
fn profiles(place: &Place, role: &str) {
    write_profiles(
        place,
        &format!(
            "[profile audit]\nrole_arn = {role}\nsource_profile = filed\n\
             [profile filed]\naws_access_key_id = {FILED_KEY}\n\
             aws_secret_access_key = {FILED_SECRET}\n"
        ),
    );
}

fn contains(bytes: &[u8], text: &str) -> bool {
    let mut windows = bytes.windows(text.len());
    !text.is_empty() && windows.any(|window| window == text.as_bytes())
}
