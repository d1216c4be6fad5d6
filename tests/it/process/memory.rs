//! Who can read keys in the daemon's memory (T8): nobody those that live long, once they are at
//! rest, and another program of the same user nothing at all.
//!
//! Sessions, which expire, are served from ordinary memory, and are what shows that the search
//! finds anything.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use credd::os::files::{read_text_now, write_private};
use rustix::process::Signal;

use crate::commands::aws::{beside_aws, configure, credd, write_profiles};
use crate::serving::program::{Place, Running, Said};
use crate::serving::{eventually, skipped};
use crate::support::fake_aws::FakeAws;

/// A user who has nothing.
const USER: u32 = 65534;

/// More than the kernel tells of any process, in bytes.
const MAPS: usize = 1024 * 1024;

const SERIAL: &str = "arn:aws:iam::123456789012:mfa/by-file";
const TOTP: &str = "MNQW4YLSPEWWKZTHNBUWU23MNVXG64DROJZXI5LW";
const TOTP_BYTES: &[u8] = b"canary-efghijklmnopqrstuv";

/// The identities, and the secret keys of their users: each comes another way.
const USERS: [(&str, &str); 4] = [
    ("by-profile", "canary/by/profile/0123456789+abcdefghijk"),
    ("by-file", "canary/by/file/0123456789+abcdefghijklmn"),
    ("by-program", "canary/by/program/0123456789+abcdefghijk"),
    ("by-environment", "canary/by/environment/0123456789+abcdefg"),
];

/// No secret by its name, so that it is left where it is.
const PLAIN: &str = "canary-that-is-found";

fn key(index: usize) -> String {
    format!("AKIACANARYUSER0000{index:02}")
}

/// A daemon whose four users have sessions, one of them by codes from a TOTP secret.
fn whole(place: &Place, aws: &FakeAws) -> Running {
    for (index, (name, secret)) in USERS.into_iter().enumerate() {
        let arn = format!("arn:aws:iam::123456789012:user/{name}");
        aws.user(&key(index), secret, &arn);
        if name == "by-file" {
            aws.totp_device(&arn, SERIAL, TOTP_BYTES);
        }
    }
    let folder = place.folder();
    let profile = format!(
        "[profile by-profile]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        key(0),
        USERS[0].1
    );
    write_profiles(place, &profile);
    write_private(&folder.join("key"), format!("{}\n", USERS[1].1).as_bytes()).unwrap();
    write_private(&folder.join("totp"), TOTP.as_bytes()).unwrap();
    // As PHP and others write JSON.
    let secret = USERS[2].1.replace('/', "\\/");
    let program = format!(
        "#!/bin/sh\ncat <<'END'\n{{\"Version\":1,\"AccessKeyId\":\"{}\",\
         \"SecretAccessKey\":\"{secret}\"}}\nEND\n",
        key(2)
    );
    write_private(&folder.join("program"), program.as_bytes()).unwrap();
    fs::set_permissions(folder.join("program"), Permissions::from_mode(0o700)).unwrap();
    let folder = folder.display();
    configure(
        place,
        &format!(
            r#"
            [identity.by-profile]
            provider = "profile"
            profile = "by-profile"
            [identity.by-environment]
            provider = "environment"
            [identity.by-program]
            provider = "process"
            command = ["{folder}/program"]
            [identity.by-file]
            provider = "keys"
            access-key-id = "{}"
            secret-access-key = "file:{folder}/key"
            [identity.by-totp]
            provider = "session-token"
            from = "by-file"
            mfa-serial = "{SERIAL}"
            mfa-code.totp-secret = "file:{folder}/totp"
            "#,
            key(1)
        ),
    );
    let mut command = credd(place, aws, &["serve"]);
    command
        .env("AWS_ACCESS_KEY_ID", key(3))
        .env("AWS_SECRET_ACCESS_KEY", USERS[3].1)
        .env("PLAIN", PLAIN);
    let daemon = place.serving(&mut command);
    // One that nobody asks for may take a minute for its first call.
    for identity in ["by-profile", "by-environment", "by-program", "by-totp"] {
        eventually("a session is there", || {
            place.run(&["get", identity]).is_success().then_some(())
        });
    }
    place.warm();
    daemon
}

/// Each region of the process's memory that can be read, by `/proc/PID/mem`.
fn regions(process: u32) -> Vec<(u64, u64)> {
    let maps = read_text_now(format!("/proc/{process}/maps").as_ref(), MAPS).unwrap();
    let region = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        rest.starts_with('r').then_some((hex(start)?, hex(end)?))
    };
    maps.lines().filter_map(region).collect()
}

pub(crate) fn by_mem_file(process: u32) -> Vec<Vec<u8>> {
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let read = |(start, end)| {
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // The daemon may have given the end of a region back since.
        let length = memory.read_at(&mut bytes, start).ok()?;
        bytes.truncate(length);
        Some(bytes)
    };
    regions(process).into_iter().filter_map(read).collect()
}

pub(crate) fn by_system_call(process: u32) -> Vec<Vec<u8>> {
    let process_id = process.cast_signed();
    let read = |(start, end): (u64, u64)| {
        let mut bytes = vec![0_u8; usize::try_from(end - start).unwrap()];
        let here = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let there = libc::iovec {
            iov_base: std::ptr::without_provenance_mut(usize::try_from(start).unwrap()),
            iov_len: bytes.len(),
        };
        // SAFETY: `here` is all of `bytes`, which nobody else has; `there` is of another process.
        #[expect(unsafe_code, reason = "there is no safe call for it")]
        let read = unsafe {
            libc::process_vm_readv(process_id, &raw const here, 1, &raw const there, 1, 0)
        };
        let read = usize::try_from(read).ok()?;
        bytes.truncate(read);
        Some(bytes)
    };
    regions(process).into_iter().filter_map(read).collect()
}

/// Whether this kernel has memory that is not in `/proc/PID/mem`, asked without credd's help.
pub(crate) fn has_secret_memory() -> bool {
    // SAFETY: the call takes flags alone. The descriptor is left open.
    #[expect(unsafe_code, reason = "there is no safe call for it")]
    let descriptor = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    descriptor >= 0
}

pub(crate) fn hits(regions: &[Vec<u8>], canary: &[u8]) -> usize {
    regions.iter().map(|region| hits_in(region, canary)).sum()
}

/// By the C library: the windows of a slice take a debug build a minute.
fn hits_in(mut region: &[u8], canary: &[u8]) -> usize {
    let mut hits = 0;
    loop {
        let (start, length) = (region.as_ptr().cast(), region.len());
        // SAFETY: both are whole slices, and are only read.
        #[expect(unsafe_code, reason = "there is no safe call for it")]
        let hit = unsafe { libc::memmem(start, length, canary.as_ptr().cast(), canary.len()) };
        if hit.is_null() {
            return hits;
        }
        hits += 1;
        region = &region[hit.addr() - start.addr() + 1..];
    }
}

#[test]
fn root_finds_no_long_lived_secret_at_rest_in_the_daemons_memory() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root may read the memory of another process");
    }
    beside_aws(|aws| {
        let place = Place::bare();
        let daemon = whole(&place, aws);
        let sessions = aws.sessions();
        assert!(sessions.len() >= USERS.len(), "{}", sessions.len());
        assert!(sessions.iter().any(|session| session.has_mfa));
        let environment =
            read_text_now(format!("/proc/{}/environ", daemon.id()).as_ref(), MAPS).unwrap();
        let ways = [
            ("mem", by_mem_file(daemon.id())),
            ("process_vm_readv", by_system_call(daemon.id())),
            ("environ", vec![environment.as_bytes().to_vec()]),
        ];
        let secrets = USERS.map(|(_, secret)| secret.as_bytes());
        let mut found = Vec::new();
        for (way, regions) in &ways {
            let bytes: usize = regions.iter().map(Vec::len).sum();
            assert!(hits(regions, PLAIN.as_bytes()) > 0, "{way}: {bytes}");
            if *way != "environ" {
                let served = |secret: &str| hits(regions, secret.as_bytes()) > 0;
                assert!(sessions.iter().any(|it| served(&it.secret)), "{way}");
            }
            for canary in secrets.iter().chain(&[TOTP.as_bytes(), TOTP_BYTES]) {
                // The beginning of a secret is as telling as all of it.
                let hits = hits(regions, &canary[..18]);
                let allowed = usize::from(!has_secret_memory() && *way != "environ");
                if hits > allowed {
                    found.push(format!("{way}: {hits} × {}", canary.escape_ascii()));
                }
            }
        }
        assert!(found.is_empty(), "{found:#?}");
    });
}

/// Attaches to a process and opens its memory as a user, and prints what comes of it.
const ATTACH: &str = r"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
print(libc.ptrace(16, int(sys.argv[2]), 0, 0), ctypes.get_errno())
try:
    open(f'/proc/{sys.argv[2]}/mem', 'rb')
    print('open')
except OSError as error:
    print(error.errno)
";

fn attach(user: u32, process: u32) -> String {
    let mut python = Command::new("python3");
    Said::by(python.args(["-c", ATTACH, &user.to_string(), &process.to_string()])).data()
}

fn as_user(user: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user.to_string(), "--regid", &user.to_string()])
        .args(["--clear-groups", "--"])
        .arg(program);
    command
}

#[test]
fn another_program_of_the_same_user_can_neither_attach_nor_read_memory() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root may become somebody else");
    }
    let place = Place::bare();
    for part in [place.folder().to_owned(), place.home(), place.config()] {
        std::os::unix::fs::chown(part, Some(USER), Some(USER)).unwrap();
    }
    // The program must be within reach of a user who may not enter root's folders.
    let program = place.folder().join("program");
    fs::copy(env!("CARGO_BIN_EXE_credd"), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut command = as_user(USER, &program);
    command.arg("serve").env_clear();
    for (name, value) in place.credd(&[]).get_envs() {
        command.env(name, value.unwrap());
    }
    let daemon = place.serving(&mut command);
    assert_eq!(attach(USER, daemon.id()), "-1 1\n13\n");

    let mut other = as_user(USER, Path::new("sleep")).arg("60").spawn().unwrap();
    let seen = eventually("setpriv is done", || {
        let seen = attach(USER, other.id());
        seen.starts_with("0 ").then_some(seen)
    });
    assert_eq!(seen, "0 0\nopen\n");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_daemon_that_crashes_leaves_no_core() -> io::Result<()> {
    let place = Place::bare();
    let limitless = |command: &mut Command| {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "ulimit -c unlimited && exec \"$@\"", "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear()
            .current_dir(place.folder())
            .stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        shell
    };
    // That a core is left by those who do nothing about it.
    let mut other = limitless(Command::new("sleep").arg("60")).spawn()?;
    eventually("the shell is gone", || {
        let name = read_text_now(format!("/proc/{}/comm", other.id()).as_ref(), MAPS).ok()?;
        (*name == "sleep\n").then_some(())
    });
    crate::serving::program::send(other.id(), Signal::SEGV);
    if !other.wait()?.core_dumped() {
        skipped("this host lets no program leave a core");
        return Ok(());
    }
    let mut daemon = place.serving(&mut limitless(&mut place.credd(&["serve"])));
    // The first, as it is not by a fault, only undoes the handler of the standard library.
    let status = eventually("the daemon crashes", || {
        let status = daemon.try_end();
        if status.is_none() {
            daemon.signal(Signal::SEGV);
        }
        status
    });
    assert_eq!(status.signal(), Some(11));
    assert!(!status.core_dumped());
    Ok(())
}
