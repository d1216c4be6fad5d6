//! Tests of profile files as a whole: both files together, from disk, and in general.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

fn read(kind: FileKind, text: &str) -> Profiles {
    parse(kind, Path::new("file"), text).unwrap()
}

fn oddities(kind: FileKind, text: &str) -> Vec<(Option<usize>, Oddity)> {
    let profiles = read(kind, text);
    let warnings = profiles.warnings().iter();
    warnings
        .map(|warning| (warning.line, warning.oddity.clone()))
        .collect()
}

#[test]
fn credentials_override_the_config_key_by_key() {
    let config = read(
        FileKind::Config,
        "[profile a]\nx = config\ny = config\n[default]\nregion = r",
    );
    let credentials = read(FileKind::Credentials, "[a]\nX = credentials\n[b]\nz =");
    let profiles = config.overridden_by(credentials);
    let names: Vec<_> = profiles.profile_names().collect();
    assert_eq!(names, ["a", "b", "default"]);
    let profile = profiles.profile("a").unwrap();
    assert_eq!(profile.property("x"), Some("credentials"));
    assert_eq!(profile.property("Y"), Some("config"));
    assert_eq!(profile.property("z"), None);
    assert_eq!(profiles.profile("b").unwrap().property("z"), Some(""));
    assert!(profiles.profile("A").is_none());
}

#[test]
fn sections_beside_profiles_are_reached_by_name() {
    let profiles = read(
        FileKind::Config,
        "[sso-session corp]\nsso_region = r\n[services local]\ns3 =\n endpoint_url = one\n \
         Endpoint_URL = two # 2\nsts = \n  endpoint_url=\n",
    );
    let session = profiles.sso_session("corp").unwrap();
    assert_eq!(session.property("sso_region"), Some("r"));
    let services = profiles.services("local").unwrap();
    assert_eq!(services.sub_property("S3", "endpoint_url"), Some("two # 2"));
    assert_eq!(services.sub_property("sts", "endpoint_url"), Some(""));
    assert_eq!(services.sub_property("sts", "other"), None);
    assert_eq!(services.sub_property("sqs", "endpoint_url"), None);
    assert_eq!(services.keys().collect::<Vec<_>>(), ["s3", "sts"]);
    assert_eq!(profiles.profile_names().count(), 0);
}

#[test]
fn a_continued_value_has_no_sub_properties() {
    let profiles = read(FileKind::Config, "[default]\na = b\n c = d");
    let profile = profiles.profile("default").unwrap();
    assert_eq!(profile.property("a"), Some("b\nc = d"));
    assert_eq!(profile.sub_property("a", "c"), None);
}

#[test]
fn what_is_passed_over_is_told_with_its_line() {
    let text = "[default]\nregion = r\n[plain]\n[profile default]\nin valid = 1\na = b\n # c\n\
                [other x]\n[profile \"x\"]";
    assert_eq!(
        oddities(FileKind::Config, text),
        [
            (Some(1), Oddity::ReplacedDefault),
            (
                Some(3),
                Oddity::NoSectionType {
                    name: "plain".to_owned()
                }
            ),
            (Some(5), Oddity::InvalidPropertyName),
            (Some(6), Oddity::CommentInValue),
            (
                Some(8),
                Oddity::UnknownSectionType {
                    name: "other x".to_owned()
                }
            ),
            (
                Some(9),
                Oddity::InvalidSectionName {
                    name: "\"x\"".to_owned()
                }
            ),
        ]
    );
    assert_eq!(
        oddities(FileKind::Credentials, "[default]\n[profile default]"),
        [(
            Some(2),
            Oddity::SectionTypeInCredentials {
                name: "profile default".to_owned()
            }
        )]
    );
}

#[test]
fn neither_errors_nor_warnings_nor_debug_hold_a_value() {
    let secret = "hunter2";
    for text in [
        "hunter2",
        "hunter2 = x",
        "[default]\nhunter2",
        "[default]\n= hunter2",
        "[default]\n hunter2",
        "[default]\ns3 =\n hunter2",
        "[default]\ns3 =\n = hunter2",
        "[default] hunter2",
    ] {
        let error = parse(FileKind::Config, Path::new("/c"), text).unwrap_err();
        assert!(error.to_string().starts_with("error parsing /c on line "));
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
    let profiles = read(
        FileKind::Config,
        "[default]\nhunter2 hunter2 = hunter2\nkey = hunter2\n # hunter2\n[a]\nkey = hunter2",
    );
    assert_eq!(profiles.warnings().len(), 3);
    for warning in profiles.warnings() {
        assert!(!warning.to_string().contains(secret), "{warning}");
    }
    let printed = format!("{profiles:?}");
    assert!(
        !printed.contains(secret) && printed.contains("key"),
        "{printed}"
    );
}

#[test]
fn a_section_name_cannot_act_on_a_terminal() {
    let profiles = read(FileKind::Config, "[\u{1b}[31m]");
    assert!(
        !profiles.warnings()[0]
            .to_string()
            .contains(char::is_control)
    );
}

fn locations(config: PathBuf, credentials: PathBuf) -> Locations {
    let named = |path| {
        Some(Location {
            path,
            is_named: true,
        })
    };
    Locations {
        config: named(config),
        credentials: named(credentials),
        profile: DEFAULT_PROFILE.to_owned(),
        is_profile_named: false,
    }
}

#[tokio::test]
async fn both_files_are_read_from_disk_and_a_missing_one_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let (config, credentials) = (folder.path().join("config"), folder.path().join("keys"));
    files::write_private(&config, b"[default]\nregion = r").unwrap();
    let locations = locations(config, credentials.clone());
    let profiles = load(&locations).await.unwrap();
    let profile = profiles.profile(DEFAULT_PROFILE).unwrap();
    assert_eq!(profile.property("region"), Some("r"));
    assert_eq!(
        profiles.warnings(),
        [Warning {
            path: credentials.as_path().into(),
            line: None,
            oddity: Oddity::Missing {
                kind: FileKind::Credentials
            },
        }]
    );

    files::write_private(&credentials, b"[default]\nregion = s").unwrap();
    let profiles = load(&locations).await.unwrap();
    let profile = profiles.profile(DEFAULT_PROFILE).unwrap();
    assert_eq!(profile.property("region"), Some("s"));
    assert!(profiles.warnings().is_empty());
}

#[tokio::test]
async fn files_that_cannot_be_anywhere_are_empty() {
    for path in ["/dev/null", "/dev/null/.aws/config"] {
        let locations = locations(path.into(), path.into());
        let profiles = load(&locations).await.unwrap();
        assert_eq!(profiles.profile_names().count(), 0);
    }
    let nowhere = Locations {
        config: None,
        credentials: None,
        ..locations(PathBuf::new(), PathBuf::new())
    };
    assert!(load(&nowhere).await.unwrap().warnings().is_empty());
}

async fn refusal(path: &Path) -> String {
    let locations = locations("/dev/null".into(), path.to_owned());
    let error = load(&locations).await.unwrap_err();
    assert!(std::error::Error::source(&error).is_some());
    let text = error.to_string();
    assert!(text.starts_with(&format!("error reading {}", path.display())));
    assert!(text.contains("AWS_SHARED_CREDENTIALS_FILE"), "{text}");
    text
}

#[tokio::test]
async fn a_file_that_is_there_and_unreadable_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refusal(folder.path()).await.contains("regular file"));

    let path = folder.path().join("file");
    files::write_private(&path, b"[default]\nkey = \xff").unwrap();
    assert!(refusal(&path).await.contains("UTF-8"));

    files::write_private(&path, &vec![b'\n'; LARGEST_FILE + 1]).unwrap();
    assert!(refusal(&path).await.contains("smaller"));

    files::write_private(&path, b"[default]").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads it nevertheless.
    if !rustix::process::geteuid().is_root() {
        assert!(refusal(&path).await.contains("let the user"));
    }
}

/// A value as its writer thinks of it, which knows how it is written.
#[derive(Debug, Clone)]
enum Value {
    Lines(Vec<String>),
    Nested(Vec<(String, String)>),
}

impl Value {
    fn write(&self, text: &mut String) {
        match self {
            Self::Lines(lines) => text.push_str(&lines.join("\n\t")),
            Self::Nested(pairs) => {
                for (name, value) in pairs {
                    write!(text, "\n \n\t {name}={value} ").unwrap();
                }
            }
        }
    }

    fn as_read(&self) -> String {
        match self {
            Self::Lines(lines) => lines.join("\n"),
            Self::Nested(pairs) => pairs.iter().fold(String::new(), |text, (name, value)| {
                text + "\n" + name + "=" + value
            }),
        }
    }
}

/// A line that reads the same wherever it stands: no blank at its ends, none before a `#` or `;`.
fn plain_line() -> impl Strategy<Value = String> {
    vec("[!\"$-:<-~é😂][!-~é😂]{0,6}", 1..4).prop_map(|words| words.join(" "))
}

fn identifier() -> impl Strategy<Value = String> {
    "[a-z0-9_/.%@:+-]{1,8}"
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Lines(Vec::new())),
        vec(plain_line(), 1..4).prop_map(Value::Lines),
        vec((identifier(), plain_line()), 1..4).prop_map(Value::Nested),
    ]
}

type Written = BTreeMap<String, BTreeMap<String, Value>>;

fn written() -> impl Strategy<Value = Written> {
    btree_map(identifier(), btree_map(identifier(), value(), 0..5), 0..5)
}

fn render(kind: FileKind, written: &Written) -> String {
    let mut text = String::from("# rendered\r\n");
    for (name, properties) in written {
        match kind {
            FileKind::Config => writeln!(text, "[profile {name}] ; profile").unwrap(),
            FileKind::Credentials => writeln!(text, "[ {name} ]# profile").unwrap(),
        }
        for (key, value) in properties {
            write!(text, "{} = ", key.to_ascii_uppercase()).unwrap();
            value.write(&mut text);
            text.push_str("\r\n\n");
        }
    }
    text
}

fn assert_reads_as(profiles: &Profiles, written: &Written) {
    assert!(profiles.profile_names().eq(written.keys()));
    for (name, properties) in written {
        let profile = profiles.profile(name).unwrap();
        assert!(profile.keys().eq(properties.keys()));
        for (key, value) in properties {
            assert_eq!(profile.property(key), Some(value.as_read().as_str()));
            let nested: Vec<_> = profile.sub_properties(key).collect();
            match value {
                Value::Nested(pairs) => assert!(
                    nested
                        .iter()
                        .copied()
                        .eq(pairs.iter().map(|(k, v)| (&**k, &**v)))
                ),
                Value::Lines(_) => assert!(nested.is_empty()),
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(
        text in prop_oneof![
            any::<String>(),
            "([\\[\\] \t\r\n=#;ab]|profile |default|é){0,60}",
        ]
    ) {
        for kind in [FileKind::Config, FileKind::Credentials] {
            let Ok(profiles) = parse(kind, Path::new("file"), &text) else { continue };
            for name in profiles.profile_names() {
                let profile = profiles.profile(name).unwrap();
                for key in profile.keys() {
                    prop_assert!(profile.property(&key.to_ascii_uppercase()).is_some());
                    for (sub_key, _) in profile.sub_properties(key) {
                        prop_assert!(profile.sub_property(key, sub_key).is_some());
                    }
                }
            }
        }
    }

    #[test]
    fn profiles_as_written_are_read_back(written in written()) {
        for kind in [FileKind::Config, FileKind::Credentials] {
            let profiles = read(kind, &render(kind, &written));
            assert_reads_as(&profiles, &written);
            prop_assert!(profiles.warnings().is_empty());
        }
    }

    #[test]
    fn what_the_credentials_file_says_is_said_last(below in written(), above in written()) {
        let config = read(FileKind::Config, &render(FileKind::Config, &below));
        let credentials = read(FileKind::Credentials, &render(FileKind::Credentials, &above));
        let mut both = below;
        for (name, properties) in above {
            both.entry(name).or_default().extend(properties);
        }
        assert_reads_as(&config.overridden_by(credentials), &both);
    }
}
