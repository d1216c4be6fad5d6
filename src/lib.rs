//! credd keeps AWS credentials fresh and hands them to local programs, so that none of them holds
//! long-lived keys. This page is its architecture.
//!
//! # Layers
//!
//! The modules below are declared in groups. A module uses modules of lower groups only, never of
//! its own or a higher one; `tests/architecture.rs` keeps it so. Data flows one way: config →
//! providers → refresh → snapshot → serve.
//!
//! | | module | is |
//! |---|---|---|
//! | 1 | [`cli`] | what a person types; `output.rs` alone writes to stdout and stderr |
//! | 2 | [`daemon`] | the composition root: start, reload and drain, and the tasks that there is one of |
//! | 3 | [`config`] | credd.toml as written → as meant, each problem cited where it stands |
//! | 4 | [`serve`] | listeners, connections, endpoints: functions from request to response |
//! | 5 | [`authz`] | who may have what: pure decisions, tokens |
//! |   | [`refresh`] | when to ask (pure), the task that asks, the snapshot that all read |
//! | 6 | [`providers`] | the chain as data, and one file for each way to obtain credentials |
//! | 7 | [`aws`] | what AWS defines: profile files, wire formats, endpoints, signatures, STS |
//! | 8 | [`api`] | what commands and daemon say to each other |
//! |   | [`audit`] | one line for each hand-out and each denial |
//! |   | [`challenge`] | questions for a person, MFA codes, and those that are used up |
//! |   | [`http`] | one bounded exchange: deadlines, sizes, checked addresses |
//! |   | [`program`] | programs that credd runs, within limits |
//! |   | [`pulse`] | whether the loops still come round |
//! |   | [`state`] | what outlasts the process, in memory that the service manager keeps |
//! |   | [`systemd`] | what the service manager is told, and what it hands over |
//! |   | [`telemetry`] | the log: one record, as text, as JSON, or with fields for the journal |
//! | 9 | [`journal`] | journald's own protocol |
//! |   | [`metrics`] | what is counted for a monitoring system: one table of declarations |
//! | 10 | [`credentials`] [`identity`] | the nouns |
//! | 11 | [`retry`] | how long to wait before the next attempt |
//! |    | [`secret_place`] | where a secret that a config names is kept |
//! | 12 | [`clock`] [`environment`] [`random`] | what differs from run to run, and is handed in |
//! | 13 | [`printable`] | what others say, made fit to be shown |
//! |    | [`secret`] | a text that is wiped, and not shown |
//! | 14 | [`os`] | what only the operating system can do |
//!
//! # Tasks
//!
//! One thread runs them all. Each has an owner that ends it: refreshers that of their identity,
//! listeners and connections their door, all others the daemon, which ends when one of them does.
//!
//! | task | one per | wakes on | publishes |
//! |---|---|---|---|
//! | refresher | identity | due, demanded, ordered, clock jumped, source or person has news, a file changed | [`refresh::Snapshot`] |
//! | listener | socket | connection, stop | connections |
//! | connection | client | request, a look each 2 s, stop | responses |
//! | reloader | process | reload ordered, by a command or SIGHUP | [`serve::Terms`], listeners |
//! | token keeper | process | rotation due, ordered, reloaded, clock jumped | valid tokens, and their files |
//! | state keeper | process | a set or an MFA session obtained or forgotten | what outlasts the process |
//! | announcer | process | an announcement, reloaded | hook |
//! | herald | process | a snapshot or a challenge changes, reloaded | readiness and a status line |
//! | watchdog | process | half of `WATCHDOG_USEC` | a ping, once all listeners and refreshers have answered |
//! | clock watcher | process | wall clock set, host resumed | jumps |
//! | audit writer | process | a second after a decision, many decisions, stop | the audit log, by a thread of its own |
//! | memory | process | connections ended | |
//! | signals | process | SIGTERM, SIGINT, SIGHUP | stop, hurry, reload |
//!
//! As the first process of a container the program does all that in a child of it, which it passes
//! signals on to: what was the first process waits for orphans ([`os::init`]).
//!
//! # The life of a credential
//!
//! A [`refresh::Refresher`] is the only caller of its provider, so no second call can be under
//! way: single flight is the task, not a table. It asks, and adopts what it gets unless that is
//! worse than what it holds: expired, incomplete, malformed or long-lived. It renders the body
//! that clients get, publishes the snapshot, and sleeps until a pure schedule says so, on a clock
//! that counts suspend. Expiry is judged by the wall clock; when that jumps, the task wakes and
//! judges again. A failure is classified by its provider and paced by [`retry`], here and nowhere
//! else; the set in hand is served until its true expiry, and one from instance metadata beyond
//! it, since AWS keeps honouring those.
//!
//! Under a service manager the set outlasts the process: the refresher writes it down in a
//! [`refresh::Ledger`], with a mark of all that decides what its identity stands for, and the one of
//! the next start begins with it where that mark is the same. MFA sessions are found by a mark of
//! their owner. Nothing of it is ever on a disk ([`state`]).
//!
//! # Identities derived from others
//!
//! Each hop is an identity of its own: the keys of a user, the session that STS makes of them, the
//! role that is assumed with that. The config names some; what a profile of the AWS config file
//! means is planned as data first ([`providers::chain::Link`]), and its hops are identities without
//! a name. [`refresh::Identities`] keeps equal ones once, so that ten roles share one session and
//! one MFA code. A derived identity reads its source's snapshot, fails as that fails, and wakes
//! when that has changed. Long-lived keys feed others; whoever asks for them gets the session that
//! STS makes of them.
//!
//! Where a session takes a code that only a person has, the refresher asks through [`challenge`],
//! well ahead of the end of the session in hand, and goes on serving. Nobody waits for an answer;
//! it comes through the admin socket, is tried once, and what came of it goes back to the person.
//!
//! # The life of a config
//!
//! It is read from its file or variable into what it means, with all that it names, or into the list of its
//! problems. A start claims what it wants. A reload resolves it beside the one in force: makes the
//! same checks, binds what is not bound yet, opens the identities that it defines otherwise and
//! waits for them, bounded. Identities are known by their definitions, all the way down, so that
//! whatever both configs define alike is one task with one schedule. What it decides about serving
//! is one immutable value, [`serve::Terms`], which each request loads once: so it takes effect
//! between two requests, whole. Until then everything can be taken back, and is, if anything fails.
//!
//! # The life of a request
//!
//! The kernel says who has connected before a byte is read; one caller's connections and requests
//! are counted, so that others have room. hyper parses; the guard refuses what a credentials client
//! never sends. [`authz`] decides by rules about what the kernel or a token proves, and whatever it
//! decides is a line of [`audit`]. The snapshot is loaded without a lock and its ready-made body is
//! written. Only a request for an identity that is warming up waits, for 800 ms at most; one for a
//! failing identity gets the failure that is known.
//!
//! # Deliberately absent
//!
//! No secret on disk. No retry outside the refresher. No clock outside [`clock`], no chance
//! outside [`random`]: a test winds the one and seeds the other. No `unsafe` outside [`os`]. No
//! `cfg(test)` in product paths. No listener beyond this host, but for metrics where the config
//! says so in as many words. No IMDSv1. No long-lived key served. No plugin system.

pub mod cli;

pub mod daemon;

pub mod config;

pub mod serve;

pub mod authz;
pub mod refresh;

pub mod providers;

pub mod aws;

pub mod api;
pub mod audit;
pub mod challenge;
pub mod http;
pub mod program;
pub mod pulse;
pub mod state;
pub mod systemd;
pub mod telemetry;

pub mod journal;
pub mod metrics;

pub mod credentials;
pub mod identity;

pub mod retry;
pub mod secret_place;

pub mod clock;
pub mod environment;
pub mod random;

pub mod printable;
pub mod secret;

pub mod os;
