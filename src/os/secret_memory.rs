//! Memory for short secrets: never swapped, never dumped, and where the kernel can do that, read by
//! nobody but this process. Wiped when given back.

use std::fmt;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use zeroize::Zeroize;

/// Bytes of the longest text that is kept here: secret access keys, tokens of the endpoint and
/// TOTP secrets are shorter; session tokens, which expire, are longer.
pub const LONGEST: usize = 256;

/// What a chunk is handed out in, in bytes.
const SLOT: usize = 64;

/// Slots of a chunk: as many as its bits.
const SLOTS: usize = 128;

/// Bytes of a chunk: two pages.
const CHUNK: usize = SLOT * SLOTS;

/// Half a MiB, for 8192 secret access keys. The limit of locked memory may be lower.
const CHUNKS: usize = 64;

/// What the memory is that secrets are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unmapped in the kernel itself: not even root reads it through `/proc/PID/mem`
    /// (`memfd_secret(2)`, Linux 5.14; from 6.5 on without a boot parameter).
    MemfdSecret,
    /// Locked in memory, so never swapped, and left out of core dumps.
    Locked,
    /// As any other: the kernel gives no memory that could be locked.
    Plain,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::MemfdSecret => "memfd_secret",
            Self::Locked => "locked",
            Self::Plain => "plain",
        })
    }
}

/// A text in such memory.
pub struct KeptText {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the bytes belong to this value alone until it is dropped, and are not written to while it
// lives.
#[expect(unsafe_code, reason = "a pointer is not Send by itself")]
unsafe impl Send for KeptText {}

// SAFETY: as above; shared references only read.
#[expect(unsafe_code, reason = "a pointer is not Sync by itself")]
unsafe impl Sync for KeptText {}

impl KeptText {
    pub fn as_str(&self) -> &str {
        // SAFETY: `start` is that of `length` bytes which `keep` copied from a `str`, which nobody
        // else has, and which stay mapped for ever.
        #[expect(unsafe_code, reason = "made of a text, so that it is one")]
        unsafe {
            let bytes = std::slice::from_raw_parts(self.start.as_ptr(), self.length);
            std::str::from_utf8_unchecked(bytes)
        }
    }
}

impl fmt::Debug for KeptText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeptText")
    }
}

impl Drop for KeptText {
    fn drop(&mut self) {
        // SAFETY: as in `as_str`; and `&mut self` says that no reference is left.
        #[expect(unsafe_code, reason = "wiped where it stands")]
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) };
        bytes.zeroize();
        arena().release(self.start, self.length);
    }
}

/// Copies `text` to such memory. None where that is used up or cannot be had, and for a text
/// longer than [`LONGEST`] or empty.
pub fn keep(text: &str) -> Option<KeptText> {
    let length = text.len();
    let start = match length {
        1..=LONGEST => arena().reserve(length)?,
        _ => return None,
    };
    // SAFETY: `reserve` gives a place of `length` bytes, mapped and of nobody else.
    #[expect(unsafe_code, reason = "the one write to the place")]
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), start.as_ptr(), length);
    }
    Some(KeptText { start, length })
}

/// What the memory is. The first secret, or the first who asks, decides it.
pub fn kind() -> Kind {
    let mut arena = arena();
    if arena.chunks.is_empty() && !arena.is_exhausted {
        arena.grow();
    }
    arena.kind
}

static ARENA: Mutex<Arena> = Mutex::new(Arena {
    chunks: Vec::new(),
    kind: Kind::Plain,
    is_exhausted: false,
});

fn arena() -> MutexGuard<'static, Arena> {
    // Every change is whole before anything could panic.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Chunks, mapped when they are needed and never given back.
struct Arena {
    chunks: Vec<Chunk>,
    kind: Kind,
    /// No more can be had; said in the log already.
    is_exhausted: bool,
}

struct Chunk {
    start: NonNull<u8>,
    /// A bit for each slot that is taken.
    taken: u128,
}

// SAFETY: a chunk is a mapping of the process, not of a thread.
#[expect(unsafe_code, reason = "a pointer is not Send by itself")]
unsafe impl Send for Chunk {}

impl Arena {
    fn reserve(&mut self, length: usize) -> Option<NonNull<u8>> {
        let place = self.chunks.iter_mut().find_map(|it| it.reserve(length));
        if place.is_some() || self.is_exhausted {
            return place;
        }
        self.grow();
        self.chunks.last_mut()?.reserve(length)
    }

    fn release(&mut self, start: NonNull<u8>, length: usize) {
        for chunk in &mut self.chunks {
            let offset = start
                .as_ptr()
                .addr()
                .wrapping_sub(chunk.start.as_ptr().addr());
            if offset < CHUNK {
                chunk.taken &= !(slots(length) << (offset / SLOT));
            }
        }
    }

    fn grow(&mut self) {
        let chunk = if self.chunks.len() < CHUNKS {
            map()
        } else {
            Err(rustix::io::Errno::NOMEM)
        };
        match chunk {
            Ok((start, kind)) => {
                self.chunks.push(Chunk { start, taken: 0 });
                self.kind = kind;
            }
            Err(error) => {
                self.is_exhausted = true;
                tracing::warn!(
                    %error,
                    kept = self.chunks.len() * CHUNK,
                    "no more memory can be locked for secrets: further ones are kept in ordinary \
                     memory; raise RLIMIT_MEMLOCK (LimitMEMLOCK= of a unit)"
                );
            }
        }
    }
}

impl Chunk {
    /// The first place with room: there are few, and nothing is in a hurry here.
    fn reserve(&mut self, length: usize) -> Option<NonNull<u8>> {
        let wanted = slots(length);
        let last = SLOTS - length.div_ceil(SLOT);
        let slot = (0..=last).find(|slot| self.taken & wanted << slot == 0)?;
        self.taken |= wanted << slot;
        // SAFETY: `slot` is at most `last`, so that the place and its end are within the chunk.
        #[expect(unsafe_code, reason = "within the chunk")]
        Some(unsafe { self.start.add(slot * SLOT) })
    }
}

/// A bit for each slot that `length` bytes take, from the lowest bit.
fn slots(length: usize) -> u128 {
    (1 << length.div_ceil(SLOT)) - 1
}

fn map() -> rustix::io::Result<(NonNull<u8>, Kind)> {
    let (start, kind) = match map_secret() {
        Ok(start) => (start, Kind::MemfdSecret),
        Err(_) => (map_locked()?, Kind::Locked),
    };
    // SAFETY: the chunk was mapped a moment ago, and advice changes nothing that is in it.
    #[expect(unsafe_code, reason = "advice on memory of one's own")]
    unsafe {
        // A child of fork(2) runs another program at once, and has no business with these.
        let _ = mm::madvise(start.as_ptr().cast(), CHUNK, Advice::LinuxDontFork);
    }
    Ok((start, kind))
}

/// A file of that many bytes, which no process reads but by a mapping.
pub(super) fn memfd_secret(bytes: usize) -> rustix::io::Result<OwnedFd> {
    // SAFETY: the call takes flags alone, and gives a descriptor that is nobody else's.
    #[expect(unsafe_code, reason = "rustix knows no memfd_secret")]
    let file = unsafe {
        let descriptor = libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC);
        match i32::try_from(descriptor) {
            Ok(descriptor) if descriptor >= 0 => OwnedFd::from_raw_fd(descriptor),
            _ => return Err(rustix::io::Errno::NOSYS),
        }
    };
    rustix::fs::ftruncate(&file, bytes as u64)?;
    Ok(file)
}

fn map_secret() -> rustix::io::Result<NonNull<u8>> {
    let file = memfd_secret(CHUNK)?;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, where the kernel sees fit, of a file that nobody else has and that
    // does not shrink. It outlives the descriptor.
    #[expect(unsafe_code, reason = "mapping memory")]
    let start = unsafe { mm::mmap(null_mut(), CHUNK, protection, MapFlags::SHARED, &file, 0)? };
    NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)
}

fn map_locked() -> rustix::io::Result<NonNull<u8>> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, where the kernel sees fit; given back below only before anybody has it.
    #[expect(unsafe_code, reason = "mapping memory")]
    unsafe {
        let start = mm::mmap_anonymous(null_mut(), CHUNK, protection, MapFlags::PRIVATE)?;
        if let Err(error) = mm::mlock(start, CHUNK) {
            let _ = mm::munmap(start, CHUNK);
            return Err(error);
        }
        let _ = mm::madvise(start, CHUNK, Advice::LinuxDontDump);
        NonNull::new(start.cast()).ok_or(rustix::io::Errno::NOMEM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_fits_is_kept() {
        assert!(keep("").is_none());
        assert!(keep(&"a".repeat(LONGEST + 1)).is_none());
        for length in [1, SLOT - 1, SLOT, SLOT + 1, LONGEST - 1, LONGEST] {
            let text = "é".repeat(length / 2) + &"a".repeat(length % 2);
            assert_eq!(keep(&text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn this_kernel_has_memory_that_can_be_locked() {
        assert_ne!(kind(), Kind::Plain);
    }

    #[test]
    fn both_kinds_of_memory_can_be_written_to_and_start_empty() {
        for start in [map_secret().ok(), map_locked().ok()].into_iter().flatten() {
            // SAFETY: mapped just now, for this test alone.
            #[expect(unsafe_code, reason = "a look at the whole chunk")]
            let bytes = unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), CHUNK) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(7);
        }
    }

    #[test]
    fn threads_do_not_get_each_others_places() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for turn in 0..500 {
                        let text = format!("{thread}-{turn}-").repeat(1 + turn % 20);
                        let kept: Vec<_> = (0..4).filter_map(|_| keep(&text)).collect();
                        assert!(kept.iter().all(|it| it.as_str() == text));
                    }
                });
            }
        });
    }

    /// A chunk of ordinary memory.
    fn chunk() -> Chunk {
        let start = Box::leak(Box::new([0_u8; CHUNK]));
        Chunk {
            start: NonNull::from(start).cast(),
            taken: 0,
        }
    }

    #[test]
    fn what_is_given_back_is_wiped_and_taken_again() {
        let mut arena = Arena {
            chunks: vec![chunk()],
            kind: Kind::Plain,
            is_exhausted: true,
        };
        let places: Vec<_> = (0..SLOTS / 4)
            .map(|_| arena.reserve(LONGEST).unwrap())
            .collect();
        assert!(arena.reserve(1).is_none());
        arena.release(places[5], LONGEST);
        assert_eq!(arena.reserve(LONGEST), Some(places[5]));

        let kept = keep("CANARY").unwrap();
        let start = kept.start;
        drop(kept);
        // Others may take the place at once; a canary they do not write.
        // SAFETY: chunks stay mapped for ever.
        #[expect(unsafe_code, reason = "a look at what was given back")]
        let left = unsafe { start.cast::<[u8; 6]>().read_volatile() };
        assert_ne!(&left, b"CANARY");
    }

    proptest! {
        #[test]
        fn places_never_overlap(lengths in proptest::collection::vec(1..=LONGEST, 1..200)) {
            let mut arena = Arena { chunks: vec![chunk()], kind: Kind::Plain, is_exhausted: true };
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for (turn, length) in lengths.into_iter().enumerate() {
                if let Some(place) = arena.reserve(length) {
                    let start = place.as_ptr().addr() - arena.chunks[0].start.as_ptr().addr();
                    prop_assert!(start + length <= CHUNK);
                    let is_apart = |(other, end): &(usize, usize)| start + length <= *other || *end <= start;
                    prop_assert!(taken.iter().all(is_apart));
                    if turn % 3 == 0 {
                        arena.release(place, length);
                    } else {
                        taken.push((start, start + length));
                    }
                }
            }
        }
    }
}
