//! Configs, good and bad, each in a folder whose name says what is to be seen, beside what credd
//! makes of it. `CREDD_BLESS=1` writes down what it makes of them now.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use credd::authz::{Opens, Rule};
use credd::config::{self, Challenges, Config};
use credd::environment::Environment;
use credd::os::files;
use credd::os::users::{Accounts, Overflow};
use credd::providers::chain::default_chain;
use credd::serve::{Limits, MetricsConfig};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/config");

const LARGEST: usize = 64 * 1024;

#[test]
fn every_config_is_understood_or_refused_as_written_down() -> Result<(), Box<dyn Error>> {
    let is_blessing = Environment::of_process().variable("CREDD_BLESS").is_some();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(CASES)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, io::Error>>()?;
    folders.sort();
    assert!(folders.len() >= 25, "{CASES} lacks cases");
    let mut failed = String::new();
    for folder in &folders {
        let text = files::read_text_now(&folder.join("credd.toml"), LARGEST)?;
        let seen = rendered(&text);
        let expected = folder.join("expected");
        if is_blessing {
            bless(&expected, &seen)?;
        }
        let expected = files::read_text_now(&expected, LARGEST)?;
        if *expected != seen {
            let name = folder.file_name().unwrap_or_default().display();
            writeln!(failed, "\n{name}\nexpected:\n{}\nseen:\n{seen}", *expected)?;
        }
    }
    assert!(failed.is_empty(), "{failed}");
    Ok(())
}

#[test]
fn the_example_of_the_packages_is_a_config_once_it_is_not_commented_out()
-> Result<(), Box<dyn Error>> {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/packaging/credd.toml");
    let text = files::read_text_now(Path::new(example), LARGEST)?;
    // `# ` and `##` are for people.
    let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
    let lines: Vec<_> = lines.filter(|line| !line.starts_with([' ', '#'])).collect();
    let config = config::parse(Path::new(example), &lines.join("\n"), &TheirAccounts)?;
    assert_eq!(config.identities.len(), 3);
    let as_it_is = config::parse(Path::new(example), &text, &TheirAccounts)?;
    assert_eq!(as_it_is.identities.len(), 1);
    Ok(())
}

#[test]
fn every_example_in_the_readme_is_a_config() -> Result<(), Box<dyn Error>> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = files::read_text_now(Path::new(readme), LARGEST)?;
    let mut examples = 0;
    for part in text.split("\n```toml\n").skip(1) {
        let (example, _) = part.split_once("\n```\n").unwrap_or((part, ""));
        let config = config::parse(Path::new("README.md"), example, &TheirAccounts);
        config.map_err(|problems| format!("{example}\n\n{problems}"))?;
        examples += 1;
    }
    assert!(examples >= 3, "{readme} lacks examples");
    Ok(())
}

/// Users and groups of a host that is the same wherever the cases are read.
struct TheirAccounts;

impl Accounts for TheirAccounts {
    fn user(&self, name: &str) -> io::Result<Option<u32>> {
        match name {
            "directory" => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(number(name)),
        }
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(number(name))
    }

    fn overflow(&self) -> Overflow {
        Overflow {
            uid: 4711,
            gid: 4712,
        }
    }
}

fn number(name: &str) -> Option<u32> {
    match name {
        "root" => Some(0),
        "app" => Some(1001),
        "billing" => Some(1002),
        "report" => Some(1003),
        "nobody" => Some(Overflow::USUAL.uid),
        _ => None,
    }
}

fn bless(path: &Path, text: &str) -> io::Result<()> {
    use io::Write as _;
    std::fs::File::create(path)?.write_all(text.as_bytes())
}

fn rendered(text: &str) -> String {
    match config::parse(Path::new("credd.toml"), text, &TheirAccounts) {
        Ok(config) => facts(&config),
        Err(problems) => format!("{problems}\n"),
    }
}

fn facts(config: &Config) -> String {
    let (http, unix) = (&config.serve.http, &config.serve.unix);
    let mut facts = vec![format!("ok\nhttp {http:?}\nunix {unix:?}")];
    facts.extend(config.identities.iter().map(|(name, links)| {
        if *links == default_chain() {
            format!("identity {name}: the default chain")
        } else {
            format!("identity {name}: {links:?}")
        }
    }));
    if config.challenges != Challenges::default() {
        facts.push(format!("{:?}", config.challenges));
    }
    facts.extend(config.audit.to.iter().map(|to| format!("audit {to:?}")));
    facts.extend(config.serve.own_sockets.iter().map(|it| {
        let (name, path) = (&it.listener, it.path.display());
        let (owner, group) = (it.owner, it.group);
        format!(
            "socket {name}: {path}, owner {owner:?}, group {group:?}, mode {:o}",
            it.mode
        )
    }));
    facts.extend(config.serve.imds.iter().map(|it| format!("{it:?}")));
    if config.serve.metrics != MetricsConfig::default() {
        facts.push(format!("{:?}", config.serve.metrics));
    }
    if config.serve.limits != Limits::default() {
        facts.push(format!("{:?}", config.serve.limits));
    }
    facts.extend(config.allow.iter().map(rule));
    facts.extend(config.tokens.iter().map(|(name, it)| {
        let (group, rotate, overlap) = (it.group, it.rotate, it.overlap);
        let mode = it.mode;
        format!(
            "token {name}: group {group:?}, mode {mode:o}, rotate {rotate:?}, overlap {overlap:?}"
        )
    }));
    facts.join("\n") + "\n"
}

fn rule(rule: &Rule) -> String {
    let caller = format!("{:?}", rule.caller);
    // What is not said is not shown.
    let said = caller
        .trim_start_matches("Conditions { ")
        .trim_end_matches(" }");
    let said = said
        .split(", ")
        .filter(|it| !it.ends_with(": None") && !it.ends_with(": false"));
    let said = said.collect::<Vec<_>>().join(", ");
    let opens = match &rule.opens {
        Opens::All => "everything".to_owned(),
        Opens::Only(openings) => {
            let openings = openings.iter().map(|it| {
                if it.identity == it.served {
                    it.identity.to_string()
                } else {
                    format!("{} as {}", it.identity, it.served)
                }
            });
            openings.collect::<Vec<_>>().join(", ")
        }
    };
    format!("rule {}: {said}: opens {opens}", rule.name)
}
