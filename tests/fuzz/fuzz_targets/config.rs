//! Any text, taken as a config, is understood or refused, and what is said of it can be shown.
#![no_main]

use std::path::Path;

use credd::config::parse;
use credd::os::users::HostAccounts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match parse(Path::new("credd.toml"), &text, &HostAccounts) {
        Ok(config) => assert!(!config.identities.is_empty()),
        Err(problems) => {
            assert!(!problems.all.is_empty());
            for problem in &problems.all {
                assert!(problem.line > 0 && problem.column > 0 && problem.length > 0);
                assert!(!problem.source_line.contains(char::is_control));
                assert!(!problem.message.contains(char::is_control));
            }
            assert!(problems.to_string().starts_with("credd.toml:"));
        }
    }
});
