//! What is in `deploy/`, judged by what its readers define, and by credd itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use credd::environment::Environment;
use credd::os::files;
use serde::Deserialize;

use crate::serving::program::{Place, Said};
use crate::serving::skipped;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(file)
}

fn text(file: &str) -> String {
    let text = files::read_text_now(&deploy(file), 1024 * 1024);
    text.unwrap().to_string()
}

/// What a manifest has for credd, as `tests/clients/manifests.py` finds it.
#[derive(Debug, Deserialize)]
struct Found {
    manifest: String,
    config: String,
    /// The identities that apps ask for.
    identities: Vec<String>,
    /// And where.
    uris: Vec<String>,
}

#[test]
fn manifests_are_what_their_readers_take_and_ask_for_what_their_configs_have() {
    let environment = Environment::of_process();
    let Some(clients) = environment.variable("CREDD_CLIENTS") else {
        return skipped("CREDD_CLIENTS does not name a folder that tests/prepare made");
    };
    let python = Path::new(clients).join("venv/bin/python");
    let judges = [
        "-c",
        "import botocore, compose_spec, kubernetes_validate, yaml",
    ];
    let judges = Command::new(&python).args(judges).output();
    if !judges.is_ok_and(|it| it.status.success()) {
        return skipped("the judges of manifests are not there; run tests/prepare again");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/manifests.py");
    let said = Said::by(Command::new(python).arg(script).arg(deploy("")));
    assert!(said.is_success(), "{said:?}");
    let all: Vec<Found> = serde_json::from_str(&said.stdout).unwrap();
    let manifests: Vec<&str> = all.iter().map(|it| &*it.manifest).collect();
    assert_eq!(
        manifests,
        [
            "ec2.json",
            "fargate.json",
            "kubernetes.yaml",
            "compose.yaml"
        ]
    );
    let place = Place::bare();
    for found in all {
        let mut check = place.credd(&["check"]);
        check.env_remove("CREDD_CONFIG");
        let said = Said::by(check.env("CREDD_CONFIG_CONTENT", &found.config));
        let ok = said.data();
        let (_, identities) = ok.trim_end().split_once("identities ").unwrap();
        let identities: Vec<&str> = identities.split(", ").collect();
        let prefix = "http://127.0.0.1:9169/v1/credentials/";
        let by_uri = found
            .uris
            .iter()
            .map(|uri| uri.strip_prefix(prefix).unwrap());
        let mut asked: Vec<&str> = found.identities.iter().map(|it| &**it).collect();
        asked.extend(by_uri);
        assert!(!asked.is_empty(), "{}", found.manifest);
        for asked in asked {
            assert!(identities.contains(&asked), "{}: {asked}", found.manifest);
        }
    }
}

#[test]
fn the_image_is_the_same_whoever_builds_the_program() {
    let [whole, prebuilt] = ["Containerfile", "Containerfile.program"].map(|file| {
        let text = text(file);
        // What differs is where the program comes from.
        let (_, image) = text.split_once("FROM scratch\n").unwrap();
        let image = image.replace("COPY credd ", "COPY --from=program /image/credd ");
        image.replace(" empty ", " --from=program /image/empty ")
    });
    let same = |text: &str| {
        let words = text.split_whitespace().map(str::to_owned);
        let mut words: Vec<String> = words.collect();
        words.sort();
        words
    };
    assert_eq!(same(&whole), same(&prebuilt));
}

#[test]
fn the_compiler_of_the_image_is_the_one_that_the_crate_needs() {
    let wanted = concat!("/rust:", env!("CARGO_PKG_RUST_VERSION"), ".");
    let text = text("Containerfile");
    assert!(text.contains(wanted), "{text}");
}
