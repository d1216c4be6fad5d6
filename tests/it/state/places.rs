//! Where what is kept is, and where it is not.

use std::net::{TcpListener, TcpStream};
use std::path::Path;

use credd::os::lasting_memory::LastingMemory;
use credd::os::secret_memory::Kind;

use super::*;
use crate::commands::aws::{OPS_SECRET, beside_aws};
use crate::process::memory::{by_mem_file, by_system_call, has_secret_memory, hits};
use crate::serving::skipped;
use crate::serving::wire::exchange;
use crate::support::fake_aws::Session;
use crate::support::sinks;

/// Each file below `folder`, with all that is in it.
fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        if kind.is_dir() {
            found.extend(files_below(&path));
        } else if kind.is_file() {
            let mut bytes = Vec::new();
            let mut file = std::fs::File::open(&path).unwrap();
            std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
            found.push((path.display().to_string(), bytes));
        }
    }
    found
}

fn secrets(session: &Session) -> [&str; 2] {
    [&session.secret, &session.token]
}

#[test]
fn sessions_are_in_the_memory_and_keys_are_not() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        let _daemon = service.settle();
        let bytes = service.manager.bytes();
        let sessions = aws.sessions();
        assert_eq!(sessions.len(), 4);
        for session in &sessions {
            let secrets = secrets(session);
            assert!(secrets.iter().all(|it| contains(&bytes, it)), "{session:?}");
        }
        for key in [OPS_SECRET, FILED_SECRET] {
            assert!(!contains(&bytes, key), "{key}");
        }
        let key = crate::commands::aws::OPS_KEY;
        assert!(!contains(&bytes, key));
    });
}

#[test]
fn nothing_of_it_is_in_any_file_or_in_the_log() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        let mut command = service.command();
        command.env("CREDD_LOG", "trace");
        let start = || service.place.serving(&mut service.manager.start(&command));
        let mut daemon = start();
        service.place.answer("111111");
        service.sets();
        daemon.terminate();
        let _daemon = start();
        service.sets();
        let files = files_below(service.place.folder());
        assert!(files.len() >= 4, "{}", files.len());
        let (log, _) = files
            .iter()
            .find(|(name, _)| name.ends_with("/log"))
            .unwrap();
        assert!(
            service.log().contains("taken over from before the restart"),
            "{log}"
        );
        for session in aws.sessions() {
            for secret in secrets(&session) {
                for (file, bytes) in &files {
                    assert!(!contains(bytes, secret), "{file}");
                }
            }
        }
    });
}

#[test]
fn root_cannot_read_it_in_the_memory_of_the_daemon_or_of_its_manager() {
    if !rustix::process::geteuid().is_root() {
        return skipped("only root may read the memory of another process");
    }
    if !has_secret_memory() {
        return skipped("this kernel has no memfd_secret");
    }
    beside_aws(|aws| {
        let service = Service::new(aws);
        let daemon = service.settle();
        let memory = service.manager.memory();
        assert_eq!(memory.kind(), Kind::MemfdSecret);
        // Two slots begin so, and nothing else does.
        let magic = b"credd st";
        assert!(contains(&service.manager.bytes(), "credd st"));
        let header = |regions: &[Vec<u8>]| {
            regions
                .iter()
                .filter(|region| region.starts_with(magic))
                .count()
        };
        assert_eq!(header(&by_mem_file(daemon.id())), 0);
        assert_eq!(header(&by_system_call(daemon.id())), 0);
        // The search finds what there is.
        assert!(hits(&by_mem_file(daemon.id()), b"credd") > 0);
        // This process is the manager here, and has it mapped.
        let own = format!("/proc/{}/fd", std::process::id());
        let descriptor = service.manager.descriptor();
        let number = std::os::fd::AsRawFd::as_raw_fd(&descriptor);
        assert!(std::fs::File::open(format!("{own}/{number}")).is_err());
        assert!(LastingMemory::adopt(&descriptor).is_ok());
    });
}

#[test]
fn programs_that_credd_runs_inherit_nothing_of_it() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        let program = service.place.folder().join("program");
        let shown = service.place.folder().join("shown");
        let text = format!(
            "#!/bin/sh\nls -l /proc/self/fd >> {0}\ncat /proc/$$/maps >> {0}\n\
             env >> {0}\necho '{{\"Version\":1}}'\n",
            shown.display()
        );
        files::write_private(&program, text.as_bytes()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&program, mode).unwrap();
        let program = program.display();
        configure(
            &service.place,
            &format!("[identity.program]\nprovider = \"process\"\ncommand = [\"{program}\"]\n"),
        );
        for _ in 0..2 {
            let mut daemon = service.start();
            eventually("the program has run", || {
                let text = files::read_text_now(&shown, 1024 * 1024).ok()?;
                text.contains("PATH=").then_some(())
            });
            let text = files::read_text_now(&shown, 1024 * 1024)
                .unwrap()
                .to_string();
            for word in ["secretmem", "memfd", "LISTEN_", "NOTIFY_SOCKET"] {
                assert!(!text.contains(word), "{word}: {text}");
            }
            std::fs::remove_file(&shown).unwrap();
            daemon.kill();
        }
        // The daemon itself has it mapped, and no descriptor of it.
        let daemon = service.start();
        let process = format!("/proc/{}", daemon.id());
        let maps = files::read_text_now(format!("{process}/maps").as_ref(), 1024 * 1024).unwrap();
        assert!(maps.contains("secretmem") || maps.contains("memfd:credd-state"));
        for entry in std::fs::read_dir(format!("{process}/fd")).unwrap() {
            let target = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
            let target = target.display().to_string();
            assert!(
                !target.contains("secretmem") && !target.contains("credd-state"),
                "{target}"
            );
        }
    });
}

#[test]
fn session_tokens_of_the_imds_endpoint_outlast_the_daemon() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        configure(
            &service.place,
            &format!(
                "[serve.imds]\nlisten = \"127.0.0.1:{port}\"\nidentity = \"billing\"\n\
                 [[allow]]\ncaller = {{ user = \"root\", tcp = \"without-token\" }}\n\
                 identity = [\"billing\"]\n"
            ),
        );
        let ask = |method: &str, path: &str, header: &str| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let request = format!(
                "{method} /latest/{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{header}\r\n\r\n"
            );
            exchange(&mut stream, request).unwrap()
        };
        let mut daemon = service.settle();
        let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 21600";
        let token = String::from_utf8(ask("PUT", "api/token", ttl).body).unwrap();
        sinks::secret(&token);
        let shown = format!("X-aws-ec2-metadata-token: {token}");
        let path = "meta-data/iam/security-credentials/billing";
        let before = ask("GET", path, &shown);
        assert_eq!(before.status, 200);
        for _ in 0..2 {
            daemon.kill();
            daemon = service.start();
            service.sets();
            let after = ask("GET", path, &shown);
            assert_eq!(after.status, 200);
            assert_eq!(after.json()["Token"], before.json()["Token"]);
        }
        // In another's hands, without what was kept, it is worth nothing.
        daemon.kill();
        service.manager.store("credd-state", Vec::new());
        let _daemon = service.start();
        assert_eq!(ask("GET", path, &shown).status, 401);
    });
}
