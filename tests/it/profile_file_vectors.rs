//! The test cases for profile files that the AWS SDKs share, and smithy-rs' fuzzing corpus, where
//! `CREDD_VECTORS` names the folder that holds them.

use std::error::Error;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use credd::aws::profile_file::{self, FileKind, Location, Locations, Profiles, Section};
use credd::environment::Environment;
use credd::os::files;
use serde_json::{Map, Value, json};

type Outcome = Result<(), Box<dyn Error>>;

#[test]
fn every_shared_parser_case_is_read_as_it_says() -> Outcome {
    let Some(cases) = cases("profile-parser-tests.json")? else {
        return Ok(());
    };
    for case in &cases {
        let (expected, read) = (&case["output"], read_both(&case["input"]));
        match (read, expected["errorContaining"].as_str()) {
            (Ok(profiles), None) => assert_eq!(
                as_json(&profiles),
                json!({
                    "profiles": expected["config"]["profiles"],
                    "sso_sessions": expected["config"].get("sso_sessions").unwrap_or(&json!({})),
                }),
                "{case}"
            ),
            (Err(error), Some(expected)) => {
                assert!(error.to_string().contains(expected), "{error}: {case}");
                assert!(error.to_string().starts_with("error parsing "), "{error}");
            }
            (Ok(_), Some(_)) => panic!("read, not refused: {case}"),
            (Err(error), None) => panic!("{error}: {case}"),
        }
    }
    assert_eq!(cases.len(), 65);
    tell(&format!("{} shared parser cases passed", cases.len()));
    Ok(())
}

#[test]
fn every_shared_location_case_for_linux_finds_its_files() -> Outcome {
    let Some(cases) = cases("file-location-tests.json")? else {
        return Ok(());
    };
    let linux: Vec<_> = cases
        .iter()
        .filter(|case| case["platform"] == "linux")
        .collect();
    for case in &linux {
        let variables = case["environment"].as_object().ok_or("no environment")?;
        let environment: Environment = variables
            .iter()
            .map(|(name, value)| (name.clone(), text(value).to_owned()))
            .collect();
        let locations = Locations::of(&environment);
        assert_eq!(path(locations.config), text(&case["configLocation"]));
        assert_eq!(
            path(locations.credentials),
            text(&case["credentialsLocation"])
        );
        if let Some(profile) = case["profile"].as_str() {
            assert_eq!(locations.profile, profile, "{case}");
        }
        assert_eq!(
            locations.is_profile_named,
            variables.contains_key("AWS_PROFILE")
        );
    }
    assert_eq!(linux.len(), 4);
    tell(&format!("{} shared location cases passed", linux.len()));
    Ok(())
}

#[test]
fn every_file_of_the_fuzzing_corpus_is_read_or_refused() -> Outcome {
    let Some(vectors) = vectors() else {
        return Ok(());
    };
    let mut count = 0;
    for folder in ["parse_config_profile", "parse_credentials_profile"] {
        let folder = vectors.join("profile-fuzz-corpus").join(folder);
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let mut bytes = Vec::new();
            std::fs::File::open(&path)?.read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes);
            for kind in [FileKind::Config, FileKind::Credentials] {
                if let Ok(profiles) = profile_file::parse(kind, &path, &text) {
                    as_json(&profiles);
                }
            }
            count += 1;
        }
    }
    assert!(count > 0);
    tell(&format!("{count} files of the fuzzing corpus passed"));
    Ok(())
}

fn vectors() -> Option<PathBuf> {
    let environment = Environment::of_process();
    let folder = environment.variable("CREDD_VECTORS").map(PathBuf::from);
    if folder.is_none() {
        tell("skipped: CREDD_VECTORS does not name a folder of test vectors");
    }
    folder
}

fn cases(file: &str) -> Result<Option<Vec<Value>>, Box<dyn Error>> {
    /// Ten times the larger of the two files, so that a wrong path is noticed.
    const LARGEST: usize = 256 * 1024;
    let Some(vectors) = vectors() else {
        return Ok(None);
    };
    let path = vectors.join("aws-runtime-test-data").join(file);
    let text = files::read_text_now(&path, LARGEST)?;
    let document: Value = serde_json::from_str(&text)?;
    let cases = document["tests"].as_array().ok_or("no tests")?;
    Ok(Some(cases.clone()))
}

fn read_both(input: &Value) -> Result<Profiles, profile_file::ProfileFileError> {
    let read = |kind, file: &str| {
        let text = input[file].as_str().unwrap_or_default();
        profile_file::parse(kind, Path::new(file), text)
    };
    let config = read(FileKind::Config, "configFile")?;
    Ok(config.overridden_by(read(FileKind::Credentials, "credentialsFile")?))
}

fn as_json(profiles: &Profiles) -> Value {
    let sections = |names: Vec<&str>, find: &dyn Fn(&str) -> Option<Value>| {
        names
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), find(name)?)))
            .collect::<Map<_, _>>()
    };
    json!({
        "profiles": sections(profiles.profile_names().collect(), &|name| {
            profiles.profile(name).map(properties)
        }),
        "sso_sessions": sections(profiles.sso_session_names().collect(), &|name| {
            profiles.sso_session(name).map(properties)
        }),
    })
}

fn properties(section: &Section) -> Value {
    section
        .keys()
        .filter_map(|key| Some((key.to_owned(), json!(section.property(key)?))))
        .collect::<Map<_, _>>()
        .into()
}

fn path(location: Option<Location>) -> String {
    location.map_or_else(String::new, |location| location.path.display().to_string())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[expect(
    clippy::print_stderr,
    reason = "a skipped or counted suite is news to whoever runs it"
)]
fn tell(news: &str) {
    eprintln!("{news}");
}
