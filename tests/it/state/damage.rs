//! What a service manager hands over and cannot be read: dropped with a word, and never the end of a
//! start.

use std::os::fd::OwnedFd;

use credd::os::lasting_memory::SIZE;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::*;
use crate::commands::aws::beside_aws;
use crate::support::chance::Chance;

/// Where the header of a slot has these.
const VERSION: usize = 8;
const LENGTH: usize = 24;
const HEADER: usize = 64;

/// The slot that is in use.
fn slot(bytes: &[u8]) -> (usize, usize) {
    let slots = [0, SIZE / 2];
    let start = slots
        .into_iter()
        .find(|&it| bytes[it..].starts_with(b"credd st"));
    let start = start.unwrap();
    let length = bytes[start + LENGTH..].first_chunk().unwrap();
    (start, usize::try_from(u64::from_le_bytes(*length)).unwrap())
}

/// Sealed memory of that size, with this in it.
fn sealed(size: usize, bytes: &[u8], seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create("credd-state", flags).unwrap();
    ftruncate(&file, size as u64).unwrap();
    rustix::io::pwrite(&file, bytes, 0).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// Starts with what has been done to what is stored, and sees that it is dropped for something new.
fn is_dropped(service: &Service<'_>, what: &str) {
    let (stored, dropped) = (
        service.manager.has_said("FDSTORE=1"),
        service.manager.has_said("FDSTOREREMOVE=1"),
    );
    let lines = |log: String| {
        let lines = log
            .lines()
            .filter(|line| line.contains("cannot be used, and is dropped"));
        lines.count()
    };
    let said = lines(service.log());
    let mut daemon = service.start();
    assert_eq!(service.manager.has_said("FDSTORE=1"), stored + 1, "{what}");
    let removed = service.manager.has_said("FDSTOREREMOVE=1");
    assert_eq!(removed, dropped + 1, "{what}");
    assert_eq!(service.manager.names(), ["credd-state"], "{what}");
    assert_eq!(lines(service.log()), said + 1, "{what}");
    daemon.kill();
    let log = service.log();
    assert!(!log.contains("panicked"), "{what}: {log}");
}

#[test]
fn whatever_is_handed_over_in_the_place_of_a_state_is_dropped() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        service.settle().kill();
        let bytes = service.manager.bytes();
        let (start, length) = slot(&bytes);
        let whole = &bytes[..];
        let cut = &bytes[..SIZE - 1];
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            bytes
        };
        let older = with(start + VERSION, 0);
        let newer = with(start + VERSION, 99);
        let longer = with(start + LENGTH + 7, 0x7f);
        let other_sum = with(start + HEADER - 1, !bytes[start + HEADER - 1]);
        let mut noise = vec![0; SIZE];
        let mut chance = Chance::new(7);
        noise.fill_with(|| chance.next().to_le_bytes()[0]);
        let (_read, pipe) = std::io::pipe().unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE as u64).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let others: Vec<(&str, OwnedFd)> = vec![
            ("a pipe", pipe.into()),
            ("a file", file.into()),
            ("a device", null.into()),
            (
                "memory that somebody can cut",
                sealed(SIZE, whole, SealFlags::empty()),
            ),
            ("memory that was cut", sealed(SIZE - 1, cut, SEALS)),
            ("no memory", sealed(0, &[], SEALS)),
            ("more memory", sealed(SIZE + 1, whole, SEALS)),
            ("an older version", sealed(SIZE, &older, SEALS)),
            ("a newer version", sealed(SIZE, &newer, SEALS)),
            ("a length beyond the end", sealed(SIZE, &longer, SEALS)),
            ("another checksum", sealed(SIZE, &other_sum, SEALS)),
            ("noise", sealed(SIZE, &noise, SEALS)),
        ];
        for (what, descriptor) in others {
            service.manager.store("credd-state", vec![descriptor]);
            is_dropped(&service, what);
        }
        for turn in 0..6 {
            let at = usize::try_from(chance.between(0, (HEADER + length - 1) as u64)).unwrap();
            let flipped = with(start + at, bytes[start + at] ^ (1 << (turn % 8)));
            service
                .manager
                .store("credd-state", vec![sealed(SIZE, &flipped, SEALS)]);
            is_dropped(&service, &format!("byte {at}"));
        }
        // And what is new is taken over by the next.
        let stored = service.manager.has_said("FDSTORE=1");
        service.start().kill();
        assert_eq!(service.manager.has_said("FDSTORE=1"), stored);
    });
}

#[test]
fn sealed_memory_serves_as_well_where_the_kernel_has_no_secret_one() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        service.settle().kill();
        let (bytes, calls) = (service.manager.bytes(), aws.calls());
        service
            .manager
            .store("credd-state", vec![sealed(SIZE, &bytes, SEALS)]);
        for _ in 0..2 {
            let mut daemon = service.start();
            service.sets();
            daemon.kill();
        }
        assert_eq!(aws.calls(), calls);
        assert!(service.log().contains("memory=locked"), "{}", service.log());
    });
}

#[test]
fn of_several_states_one_is_used_and_the_others_are_dropped() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        service.settle().kill();
        let (whole, calls) = (service.manager.descriptor(), aws.calls());
        let noise = sealed(SIZE, &[7; 1000], SEALS);
        service.manager.store("credd-state", vec![noise, whole]);
        let _daemon = service.start();
        service.sets();
        assert_eq!(aws.calls(), calls);
        assert_eq!(service.manager.names(), ["credd-state"]);
    });
}

#[test]
fn descriptors_by_other_names_are_let_be() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        let (_read, write) = std::io::pipe().unwrap();
        service.manager.store("something-else", vec![write.into()]);
        service.start().kill();
        let mut names = service.manager.names();
        names.sort();
        assert_eq!(names, ["credd-state", "something-else"]);
        assert_eq!(service.manager.has_said("FDSTOREREMOVE=1"), 0);
    });
}
