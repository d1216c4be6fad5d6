//! Configs, good and bad, each in a folder whose name says what is to be seen, beside what credd
//! makes of it. `CREDD_BLESS=1` writes down what it makes of them now.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use credd::config::{self, Challenges, Config};
use credd::environment::Environment;
use credd::os::files;
use credd::providers::chain::default_chain;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/config");

const LARGEST: usize = 64 * 1024;

#[test]
fn every_config_is_understood_or_refused_as_written_down() -> Result<(), Box<dyn Error>> {
    let is_blessing = Environment::of_process().variable("CREDD_BLESS").is_some();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(CASES)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
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
fn every_example_in_the_readme_is_a_config() -> Result<(), Box<dyn Error>> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = files::read_text_now(Path::new(readme), LARGEST)?;
    let mut examples = 0;
    for part in text.split("\n```toml\n").skip(1) {
        let (example, _) = part.split_once("\n```\n").unwrap_or((part, ""));
        let config = config::parse(Path::new("README.md"), example);
        config.map_err(|problems| format!("{example}\n\n{problems}"))?;
        examples += 1;
    }
    assert!(examples >= 3, "{readme} lacks examples");
    Ok(())
}

fn bless(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    std::fs::File::create(path)?.write_all(text.as_bytes())
}

fn rendered(text: &str) -> String {
    match config::parse(Path::new("credd.toml"), text) {
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
    facts.join("\n") + "\n"
}
