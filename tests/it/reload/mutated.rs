//! Thousands of configs, most of them broken in some way, through reloads of one daemon whose
//! clients must not notice: the old config is kept at each bad one, and the new one is in force at
//! each good one.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};
use credd::config;
use credd::os::users::HostAccounts;
use serde_json::Value;

use super::clients::Clients;
use super::{container, free_address, write};
use crate::serving::measured;
use crate::serving::program::Place;
use crate::serving::upstream::{self, Upstream};
use crate::serving::wire::exchange;

/// How many configs: `CREDD_MUTATED_CONFIGS=10000 cargo test --locked --test it -- mutated`.
const VARIABLE: &str = "CREDD_MUTATED_CONFIGS";

/// As many as there is time for at each change of the code.
const SHARE: usize = 300;

/// Chance that a failure can be told by (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// What configs are made from.
struct Ground {
    address: SocketAddr,
    /// Somebody else's.
    busy: SocketAddr,
    free: SocketAddr,
    upstream: Upstream,
    runtime: std::path::PathBuf,
}

impl Ground {
    /// What the clients use, and all configs have.
    fn head(&self, chance: &mut Chance) -> String {
        let more = match chance.below(8) {
            0 => format!(", \"{}\"", self.busy),
            1..4 => format!(", \"{}\"", self.free),
            _ => String::new(),
        };
        let steady = container("steady", &self.upstream.uri("/steady"));
        let (address, limit) = (self.address, 100 + chance.below(400));
        format!(
            "[serve.http]\nlisten = [\"{address}\"{more}]\n[serve.limits]\n\
             connections = {limit}\n{steady}"
        )
    }

    /// A config without problems, the `number`th.
    fn rest(&self, chance: &mut Chance, number: usize) -> String {
        let mut text = String::new();
        let mut names = vec![format!("marker-{number}")];
        text += &container(&names[0], &self.upstream.uri("/marker"));
        for name in ["billing", "deploy", "audit"] {
            if chance.one_in(2) {
                let uri = self.upstream.uri(&format!("/{}", chance.below(3)));
                text += &container(name, &uri);
                names.push(name.to_owned());
            }
        }
        if chance.one_in(3) {
            text += "[identity.ops]\nprovider = \"environment\"\n[identity.role]\n\
                     provider = \"assume-role\"\nfrom = \"ops\"\n\
                     role-arn = \"arn:aws:iam::123456789012:role/app\"\n";
        }
        for token in ["worker", "batch"] {
            if chance.one_in(2) {
                let name = &names[chance.below(names.len())];
                let _ = write!(
                    text,
                    "[[allow]]\ncaller = {{ token = \"{token}\" }}\nidentity = [\"{name}\"]\n"
                );
                if chance.one_in(2) {
                    let hours = 2 + chance.below(40);
                    let _ = write!(text, "[token.{token}]\nrotate = \"{hours}h\"\n");
                }
            }
        }
        if chance.one_in(3) {
            text += "[[allow]]\ncaller = { user = \"daemon\" }\nidentity = [\"steady\"]\n";
        }
        if chance.one_in(3) {
            let folder = if chance.one_in(4) {
                Path::new("/credd-has-given-this-up")
            } else {
                &self.runtime
            };
            let _ = write!(
                text,
                "[serve.unix.app]\npath = \"{}/app.sock\"\nidentity = \"{}\"\n",
                folder.display(),
                names[0]
            );
        }
        if chance.one_in(3) {
            let _ = write!(
                text,
                "[mfa]\nwarn = [\"{}h\", \"10m\"]\n",
                1 + chance.below(3)
            );
        }
        if chance.one_in(4) {
            let log = self.runtime.join("audit.log");
            let _ = write!(text, "[audit]\nto = \"file:{}\"\n", log.display());
        }
        text
    }
}

const GARBAGE: &[&str] = &[
    "nonsense",
    "= 1",
    "[",
    "]]",
    "\"",
    "'''",
    "unknown = 1",
    "[identity.x]",
    "[identity.y]\nprovider = \"environment\"",
    "provider = \"environment\"",
    "[serve]",
    "mode = \"0777\"",
    "\u{0}",
    "\u{fffd}",
    "é = \"日\"",
    "[[allow]]",
    "from = \"steady\"",
    "identity = [\"nobody\"]",
];

/// Breaks something, or not. Addresses of upstreams stay what they are: one that answers nobody is
/// waited for, and that is another test's matter.
fn mutated(text: &str, chance: &mut Chance) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..=chance.below(3) {
        let place = chance.below(lines.len());
        let is_fragile = lines[place].starts_with("uri");
        match chance.below(9) {
            0 => drop(lines.remove(place)),
            1 => lines.insert(place, lines[place].clone()),
            2 => {
                let other = chance.below(lines.len());
                lines.swap(place, other);
            }
            3 => lines.insert(place, GARBAGE[chance.below(GARBAGE.len())].to_owned()),
            4 => lines.truncate(place.max(1)),
            5 => lines.insert(place, "# a comment".to_owned()),
            6 if !is_fragile => {
                let mut letters: Vec<char> = lines[place].chars().collect();
                let at = chance.below(letters.len());
                if at < letters.len() {
                    letters.remove(at);
                }
                lines[place] = letters.into_iter().collect();
            }
            7 if !is_fragile => {
                let at = chance.below(lines[place].chars().count() + 1);
                let letter = char::from(b' ' + u8::try_from(chance.below(95)).unwrap());
                let (before, after): (String, String) = (
                    lines[place].chars().take(at).collect(),
                    lines[place].chars().skip(at).collect(),
                );
                lines[place] = format!("{before}{letter}{after}");
            }
            _ => {}
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
    }
    lines.join("\n")
}

fn post(place: &Place, path: &str) -> Value {
    let mut admin = UnixStream::connect(place.runtime().join("admin/credd.sock")).unwrap();
    let method = if path == "/v1/reload" { "POST" } else { "GET" };
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    exchange(&mut admin, request).unwrap().json()
}

fn kept(place: &Place) -> BTreeSet<String> {
    let status = post(place, "/v1/status");
    let identities = status["identities"].as_array().unwrap().iter();
    identities
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

#[derive(Debug, Default)]
struct Counts {
    applied: usize,
    /// By the config's own problems, cited.
    bad: usize,
    /// By what this host has against a config without problems.
    unusable: usize,
}

#[test]
fn mutated_configs_cost_no_request_and_only_good_ones_come_into_force() {
    let many = std::env::var(VARIABLE).ok();
    let many = many.map_or(SHARE, |many| many.parse().unwrap());
    let clock = SystemClock::new();
    let expiry = clock.now().plus(Duration::from_hours(12));
    let place = Place::bare();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ground = Ground {
        address: free_address(),
        busy: held.local_addr().unwrap(),
        free: free_address(),
        upstream: Upstream::answering(upstream::credentials(expiry)),
        runtime: place.runtime(),
    };
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let first = ground.rest(&mut chance, 0);
    write(
        &place,
        &format!(
            "[serve.http]\nlisten = [\"{}\"]\n{}{first}",
            ground.address,
            container("steady", &ground.upstream.uri("/steady"))
        ),
    );
    let mut command = place.credd(&["serve"]);
    command.env("AWS_EC2_METADATA_DISABLED", "true");
    let mut daemon = place.serving(&mut command);
    crate::serving::eventually("the identity is served", || {
        place.run(&["get", "steady"]).is_success().then_some(())
    });
    let clients = Clients::of(&place, "steady");
    let (mut counts, mut in_force) = (Counts::default(), kept(&place));
    let begun = clock.boot();
    for number in 1..=many {
        let rest = ground.rest(&mut chance, number);
        let rest = if chance.one_in(3) {
            rest
        } else {
            mutated(&rest, &mut chance)
        };
        let text = format!("{}{rest}", ground.head(&mut chance));
        write(&place, &text);
        let report = post(&place, "/v1/reload");
        let problem = report["problem"].as_str().unwrap_or_default();
        match config::parse(&place.config(), &text, &HostAccounts) {
            Ok(config) if report["applied"] == true => {
                let names = config.identities.keys();
                in_force = names.map(ToString::to_string).collect();
                counts.applied += 1;
            }
            Ok(_) => {
                let is_told = ["in use", "given up", "cannot "]
                    .iter()
                    .any(|why| problem.contains(why));
                assert!(is_told, "{number}: {report}\n{text}");
                counts.unusable += 1;
            }
            Err(problems) => {
                assert_eq!(report["applied"], false, "{number}: {text}");
                assert_eq!(problem, problems.to_string(), "{number}: {text}");
                counts.bad += 1;
            }
        }
        assert_eq!(kept(&place), in_force, "{number}: {report}\n{text}");
        assert!(daemon.try_end().is_none(), "{number}: {}", daemon.output());
    }
    let took = begun.until(clock.boot());
    let (answered, failed) = clients.end();
    measured(&format!(
        "{many} mutated configs in {took:?}: {counts:?}; {answered} requests answered beside them, \
         {} failed; {} calls upstream",
        failed.len(),
        ground.upstream.calls()
    ));
    assert_eq!(failed, Vec::<String>::new());
    assert!(answered > many as u64);
    assert!(counts.applied > many / 10, "{counts:?}");
    assert!(counts.bad > many / 10, "{counts:?}");
    assert!(counts.unusable > 0, "{counts:?}");
    daemon.terminate();
}
