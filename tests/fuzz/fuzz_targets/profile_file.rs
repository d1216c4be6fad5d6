//! Any two texts, taken as a config and a credentials file, are refused or can be looked up in.
#![no_main]

use std::path::Path;

use credd::aws::profile_file::{FileKind, Profiles, Section, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    // A NUL parts the two files, so that any profile file is an input for the first.
    let (config, credentials) = text.split_once('\0').unwrap_or((&text, ""));
    let config = parse(FileKind::Config, Path::new("config"), config);
    let credentials = parse(FileKind::Credentials, Path::new("credentials"), credentials);
    for error in [&config, &credentials]
        .into_iter()
        .filter_map(|read| read.as_ref().err())
    {
        assert!(error.to_string().starts_with("error parsing "));
    }
    let profiles = config
        .unwrap_or_default()
        .overridden_by(credentials.unwrap_or_default());
    look_up_everything(&profiles);
});

fn look_up_everything(profiles: &Profiles) {
    for name in profiles.profile_names() {
        look_up(profiles.profile(name).expect("a listed profile is found"));
    }
    for name in profiles.sso_session_names() {
        look_up(
            profiles
                .sso_session(name)
                .expect("a listed session is found"),
        );
    }
    for name in profiles.services_names() {
        look_up(
            profiles
                .services(name)
                .expect("a listed services section is found"),
        );
    }
    for warning in profiles.warnings() {
        assert!(!warning.to_string().contains(char::is_control));
    }
}

fn look_up(section: &Section) {
    for key in section.keys() {
        assert!(section.property(&key.to_ascii_uppercase()).is_some());
        for (sub_key, _) in section.sub_properties(key) {
            assert!(!sub_key.is_empty());
            assert!(section.sub_property(key, sub_key).is_some());
        }
    }
}
