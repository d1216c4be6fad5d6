//! Two slots in one region of memory, written in turn, so that whenever a process ends there is a
//! whole one.
//!
//! A slot is a header and a payload. The header, in the byte order of little endian:
//!
//! | bytes | |
//! |---|---|
//! | 8 | `credd st` |
//! | 4 | the version of the payload's form |
//! | 4 | nothing |
//! | 8 | sequence number: the higher one is the newer |
//! | 8 | length of the payload |
//! | 32 | SHA-256 of all that and the payload; zeros while it is being written |
//!
//! The checksum is against accidents, not against forgers: whoever else could write here, root and
//! the service manager, could start another credd as well.

use std::fmt;

use aws_lc_rs::digest::{self, SHA256};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"credd st";
const CHECKSUM: usize = 32;
const HEADER: usize = 64;
/// Where the checksum begins.
const SEALED: usize = HEADER - CHECKSUM;

/// Where slots are. All of it is there: what lies beyond its end is left out of reads and writes.
pub trait Region {
    fn size(&self) -> usize;
    fn read(&self, at: usize, length: usize) -> Zeroizing<Vec<u8>>;
    fn write(&mut self, at: usize, bytes: &[u8]);
    /// Overwrites it with zeros.
    fn wipe(&mut self, at: usize, length: usize);
}

/// Why there is nothing to read in a region that has been written to.
#[derive(Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Another credd's form.
    Version(u32),
    /// Neither slot is whole.
    Damaged,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(formatter, "it has version {version} of its form"),
            Self::Damaged => formatter.write_str("it is damaged"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// The payload of the newest whole slot.
pub(super) type Payload = Zeroizing<Vec<u8>>;

#[derive(Debug)]
pub struct Slots<R> {
    region: R,
    version: u32,
    /// The slot that was written last, and its sequence number.
    newest: Option<(Slot, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    First,
    Second,
}

impl Slot {
    const ALL: [Self; 2] = [Self::First, Self::Second];

    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What is found in a slot.
enum Found {
    Nothing,
    Whole(u64, Payload),
    Unreadable(Unreadable),
}

impl<R: Region> Slots<R> {
    /// The slots of `region`, which is full of zeros or has such slots, and what the newest holds.
    pub fn open(region: R, version: u32) -> Result<(Self, Option<Payload>), Unreadable> {
        let mut slots = Self {
            region,
            version,
            newest: None,
        };
        let (mut newest, mut unreadable) = (None, None);
        for slot in Slot::ALL {
            match slots.look(slot) {
                Found::Nothing => {}
                Found::Unreadable(why) => unreadable = Some(why),
                Found::Whole(sequence, payload) => {
                    let is_newer = newest
                        .as_ref()
                        .is_none_or(|(_, latest, _)| sequence > *latest);
                    if is_newer {
                        newest = Some((slot, sequence, payload));
                    }
                }
            }
        }
        let Some((slot, sequence, payload)) = newest else {
            return unreadable.map_or(Ok((slots, None)), Err);
        };
        slots.newest = Some((slot, sequence));
        // A process that ended while it wrote has left something there.
        slots.clear(slot.other());
        Ok((slots, Some(payload)))
    }

    /// Bytes of the longest payload.
    pub fn capacity(&self) -> usize {
        (self.region.size() / 2).saturating_sub(HEADER)
    }

    /// Writes what is to be found from now on. Until it is whole, the one before is; after that
    /// nothing is left of it. False if it is too long, and nothing is written.
    pub fn put(&mut self, payload: &[u8]) -> bool {
        if payload.len() > self.capacity() {
            return false;
        }
        let (slot, sequence) = match self.newest {
            None => (Slot::First, 1),
            Some((slot, sequence)) => (slot.other(), sequence.saturating_add(1)),
        };
        let at = self.start(slot);
        let mut header = self.header(sequence, payload.len());
        self.region.write(at, &header);
        self.region.write(at + HEADER, payload);
        if let Some((sealed, checksum)) = header.split_at_mut_checked(SEALED) {
            checksum.copy_from_slice(&checksum_of(sealed, payload));
        }
        self.region.write(at, &header);
        self.newest = Some((slot, sequence));
        self.clear(slot.other());
        true
    }

    fn start(&self, slot: Slot) -> usize {
        match slot {
            Slot::First => 0,
            Slot::Second => self.region.size() / 2,
        }
    }

    fn header(&self, sequence: u64, length: usize) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER);
        header.extend(MAGIC);
        header.extend(self.version.to_le_bytes());
        header.extend([0; 4]);
        header.extend(sequence.to_le_bytes());
        header.extend((length as u64).to_le_bytes());
        header.resize(HEADER, 0);
        header
    }

    fn look(&self, slot: Slot) -> Found {
        let at = self.start(slot);
        let header = self.region.read(at, HEADER);
        if header.iter().all(|byte| *byte == 0) {
            return Found::Nothing;
        }
        let Some((version, sequence, length)) = parse(&header) else {
            return Found::Unreadable(Unreadable::Damaged);
        };
        if version != self.version {
            return Found::Unreadable(Unreadable::Version(version));
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > self.capacity() {
            return Found::Unreadable(Unreadable::Damaged);
        }
        let payload = self.region.read(at + HEADER, length);
        match header.split_at_checked(SEALED) {
            Some((sealed, checksum)) if checksum_of(sealed, &payload) == checksum => {
                Found::Whole(sequence, payload)
            }
            _ => Found::Unreadable(Unreadable::Damaged),
        }
    }

    /// The payload first, so that the header tells of what is left of it.
    fn clear(&mut self, slot: Slot) {
        let at = self.start(slot);
        let header = self.region.read(at, HEADER);
        if header.iter().all(|byte| *byte == 0) {
            return;
        }
        let length = parse(&header).map_or(u64::MAX, |(_, _, length)| length);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.region.wipe(at + HEADER, length.min(self.capacity()));
        self.region.wipe(at, HEADER);
    }
}

/// Version, sequence number and length.
fn parse(header: &[u8]) -> Option<(u32, u64, u64)> {
    let (magic, rest) = header.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    let (sequence, rest) = rest.split_first_chunk()?;
    let length = rest.first_chunk()?;
    (magic == MAGIC).then_some((
        u32::from_le_bytes(*version),
        u64::from_le_bytes(*sequence),
        u64::from_le_bytes(*length),
    ))
}

fn checksum_of(sealed: &[u8], payload: &[u8]) -> [u8; CHECKSUM] {
    let mut digest = digest::Context::new(&SHA256);
    digest.update(sealed);
    digest.update(payload);
    let mut checksum = [0; CHECKSUM];
    checksum.copy_from_slice(digest.finish().as_ref());
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: usize = 512;

    /// Memory of a process that ends after so many bytes.
    #[derive(Debug, Clone)]
    struct Memory {
        bytes: Vec<u8>,
        life: usize,
    }

    impl Memory {
        fn new() -> Self {
            Self {
                bytes: vec![0; SIZE],
                life: usize::MAX,
            }
        }
    }

    impl Region for Memory {
        fn size(&self) -> usize {
            self.bytes.len()
        }

        fn read(&self, at: usize, length: usize) -> Payload {
            let end = (at + length).min(self.bytes.len());
            Zeroizing::new(self.bytes[at..end].to_vec())
        }

        fn write(&mut self, at: usize, bytes: &[u8]) {
            for (index, byte) in bytes.iter().enumerate() {
                if self.life == 0 {
                    return;
                }
                self.life -= 1;
                self.bytes[at + index] = *byte;
            }
        }

        fn wipe(&mut self, at: usize, length: usize) {
            self.write(at, &vec![0; length]);
        }
    }

    fn open(memory: &Memory) -> Result<(Slots<Memory>, Option<Payload>), Unreadable> {
        let region = Memory {
            life: usize::MAX,
            ..memory.clone()
        };
        Slots::open(region, 1)
    }

    fn holding(payloads: &[&[u8]]) -> Memory {
        let (mut slots, _) = open(&Memory::new()).unwrap();
        for payload in payloads {
            assert!(slots.put(payload));
        }
        slots.region
    }

    fn read(memory: &Memory) -> Option<Vec<u8>> {
        let payload = open(memory).unwrap().1;
        payload.map(|payload| payload.to_vec())
    }

    #[test]
    fn new_memory_holds_nothing_and_what_was_written_last_is_read() {
        assert_eq!(read(&Memory::new()), None);
        for count in 1..5 {
            let payloads = [&b"one"[..], b"", b"three", b"four"];
            let memory = holding(&payloads[..count]);
            assert_eq!(read(&memory).as_deref(), Some(payloads[count - 1]));
        }
    }

    #[test]
    fn nothing_is_left_of_what_was_written_before() {
        let memory = holding(&[b"a long canary", b"short"]);
        assert!(!memory.bytes.windows(6).any(|it| it == b"canary"));
        let memory = holding(&[b"a long canary", b"another canary", b"short"]);
        assert!(!memory.bytes.windows(6).any(|it| it == b"canary"));
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let (mut slots, _) = open(&holding(&[b"one"])).unwrap();
        assert_eq!(slots.capacity(), SIZE / 2 - HEADER);
        assert!(!slots.put(&vec![7; slots.capacity() + 1]));
        assert_eq!(read(&slots.region).as_deref(), Some(&b"one"[..]));
        let longest = vec![7; slots.capacity()];
        assert!(slots.put(&longest) && slots.put(&longest));
        assert_eq!(read(&slots.region), Some(longest));
    }

    #[test]
    fn a_process_that_ends_in_the_middle_of_a_write_leaves_the_old_or_the_new_whole() {
        for before in 1..4 {
            let payloads = vec![&b"what was there before, and is longer"[..]; before];
            let whole = holding(&payloads);
            let mut has_old = true;
            for life in 0..3 * SIZE {
                let (mut slots, _) = open(&whole).unwrap();
                slots.region.life = life;
                slots.put(b"what is new");
                let (reopened, payload) = open(&slots.region).unwrap();
                let payload = payload.unwrap();
                let is_old = payload.as_slice() == payloads[0];
                assert!(is_old || payload.as_slice() == b"what is new", "{life}");
                // Once it is written it stays written.
                assert!(has_old || !is_old, "{life}");
                has_old = is_old;
                // And of the other nothing is left once it has been opened.
                let left = reopened.region.bytes.windows(8);
                let both = left.filter(|it| *it == b"what was" || *it == b"what is ");
                assert_eq!(both.count(), 1, "{life}");
            }
            assert!(!has_old);
        }
    }

    #[test]
    fn a_first_write_that_was_cut_off_is_damage_or_nothing() {
        for life in 0..SIZE {
            let (mut slots, _) = open(&Memory::new()).unwrap();
            slots.region.life = life;
            slots.put(b"what is new");
            match open(&slots.region) {
                Ok((_, None)) => assert_eq!(life, 0),
                Ok((_, Some(payload))) => assert_eq!(payload.as_slice(), b"what is new"),
                // Half of a header may say anything.
                Err(Unreadable::Damaged | Unreadable::Version(_)) => assert_ne!(life, 0),
            }
        }
    }

    #[test]
    fn any_byte_that_has_changed_is_noticed() {
        for count in 1..3 {
            let memory = holding(&vec![&b"payload"[..]; count]);
            let start = if count == 1 { 0 } else { SIZE / 2 };
            for index in 0..SIZE {
                for flip in [1, 0x80, 0xff] {
                    let mut changed = memory.clone();
                    changed.bytes[index] ^= flip;
                    let is_in_slot = (start..start + HEADER + 7).contains(&index);
                    match open(&changed) {
                        Ok((_, payload)) => {
                            assert!(!is_in_slot, "{index}");
                            assert_eq!(payload.unwrap().as_slice(), b"payload");
                        }
                        Err(_) => assert!(is_in_slot, "{index}"),
                    }
                }
            }
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let memory = holding(&[b"payload"]);
        for other in [0, 2, u32::MAX] {
            let why = Slots::open(memory.clone(), other).unwrap_err();
            assert_eq!(why, Unreadable::Version(1));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..SIZE), with_magic: bool) {
            let mut bytes = bytes;
            if with_magic {
                bytes.splice(0..0, MAGIC.iter().copied().chain(1_u32.to_le_bytes()));
            }
            if let Ok((mut slots, _)) = open(&Memory { bytes, life: 0 }) {
                let is_put = slots.put(b"payload");
                prop_assert_eq!(is_put, slots.capacity() >= 7);
            }
        }
    }
}
