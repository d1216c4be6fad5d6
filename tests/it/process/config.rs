//! Configs that somebody else could have written (T16): refused, also in the moment in which they
//! are put there.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use credd::environment::Environment;
use credd::os::files::{read_owned_text_now, read_text_now, write_private};
use credd::os::ownership::check_owned;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::serving::program::Place;
use crate::support::news::tell;

const LONGEST: usize = 1024;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_config_that_others_may_write_to_is_not_served_and_check_says_so() {
    let place = Place::bare();
    let config = place.config();
    for (path, mode, remedy) in [
        (&*config, 0o606, "`chmod go-w` it"),
        (place.folder(), 0o707, "`chmod o-w` it"),
    ] {
        let before = fs::metadata(path).unwrap().permissions();
        set_mode(path, mode);
        let said = place.run(&["serve"]);
        assert_eq!(said.code(), Some(1), "{said:?}");
        assert!(said.stderr.contains("nobody else"), "{said:?}");
        assert!(said.stderr.contains(remedy), "{said:?}");
        // A look at it does no harm, and a dry run does what it says.
        let said = place.run(&["check"]);
        assert!(said.is_success(), "{said:?}");
        assert!(said.stderr.contains(remedy), "{said:?}");
        assert!(!place.run(&["check", "--dry-run"]).is_success());
        fs::set_permissions(path, before).unwrap();
    }
    place.serve();
}

/// A folder with what is read, and one where a stranger could do as they like.
struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("own", "own"), ("foreign", "foreign")] {
            let folder = folder.path().join(name);
            fs::create_dir(&folder).unwrap();
            for file in ["credd.toml", "other.toml"] {
                write_private(&folder.join(file), text.as_bytes()).unwrap();
            }
        }
        let foreign = folder.path().join("foreign");
        set_mode(&foreign.join("credd.toml"), 0o666);
        set_mode(&foreign.join("other.toml"), 0o644);
        set_mode(&foreign, 0o777);
        symlink("own", folder.path().join("way")).unwrap();
        Self { folder }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    /// Bends the link, then swaps the files: each to and fro.
    fn race(&self) {
        for leads in ["foreign", "own"] {
            symlink(leads, self.at("new")).unwrap();
            fs::rename(self.at("new"), self.at("way")).unwrap();
        }
        let (own, foreign) = (self.at("own/credd.toml"), self.at("foreign/credd.toml"));
        for _ in 0..2 {
            renameat_with(CWD, &own, CWD, &foreign, RenameFlags::EXCHANGE).unwrap();
        }
    }
}

/// Reads by `read` until it has read foreign text `enough` times or made all turns, beside somebody
/// who races: how often it was foreign, how often its own, and how often neither.
fn raced(
    turns: usize,
    enough: usize,
    read: impl Fn(&Path) -> std::io::Result<String>,
) -> [usize; 3] {
    let ground = Ground::new();
    let (is_over, races) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut counts = [0; 3];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                ground.race();
                races.fetch_add(1, Ordering::Relaxed);
            }
        });
        for turn in 0..turns {
            let file = ["way/credd.toml", "way/other.toml"][turn % 2];
            let which = match read(&ground.at(file)).as_deref() {
                Ok("foreign") => 0,
                Ok("own") => 1,
                Ok(other) => panic!("read {other:?}"),
                Err(_) => 2,
            };
            counts[which] += 1;
            if counts[0] == enough {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(races.into_inner() > 0);
    counts
}

#[test]
fn whoever_races_with_links_and_renames_gets_nothing_read() {
    let environment = Environment::of_process();
    let turns = environment.variable("CREDD_RACER_TURNS");
    let turns = turns.map_or(20_000, |turns| turns.parse().unwrap());
    // Somebody who looks at the path and then opens it is fooled.
    let naive = |path: &Path| {
        check_owned(path)?;
        Ok(read_text_now(path, LONGEST)?.to_string())
    };
    let [fooled, ..] = raced(turns, 1, naive);
    let whole = |path: &Path| Ok(read_owned_text_now(path, LONGEST)?.to_string());
    let [foreign, own, neither] = raced(turns, usize::MAX, whole);
    tell(&format!(
        "config racer: {foreign} foreign reads, {own} own, {neither} refused; a look before opening \
         was fooled: {fooled}"
    ));
    assert_eq!(foreign, 0);
    assert!(own > 0 && neither > 0, "{own} {neither}");
    assert_eq!(fooled, 1, "the racer is too slow to show anything");
}
