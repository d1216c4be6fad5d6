//! Memory that outlasts the process: behind a descriptor that somebody else keeps, on no disk, and
//! where the kernel can do so, read by nobody but who has it mapped.
//!
//! The mapping outlives the descriptor, so that this process need not keep one, and no program that
//! it starts can inherit one.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{NonNull, null_mut};

use rustix::fs::{FileType, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{self, Advice, MapFlags, MlockFlags, ProtFlags};
use zeroize::{Zeroize, Zeroizing};

use super::secret_memory::{Kind, memfd_secret};

/// Bytes, whatever they are used for: half of what a service may lock by default (`LimitMEMLOCK=`
/// of systemd since version 246, and the kernel since 5.16: 8 MiB), and room for well over a thousand
/// sets of credentials. Pages are taken as they are written to.
pub const SIZE: usize = 4 * 1024 * 1024;

/// `SECRETMEM_MAGIC` (linux/magic.h): what statfs(2) calls the file system of `memfd_secret(2)`.
const SECRETMEM: i64 = 0x5345_434d;

/// Nobody can make it shorter, so that no look at it ends in SIGBUS, or take these seals off.
const SEALS: SealFlags = SealFlags::SHRINK
    .union(SealFlags::GROW)
    .union(SealFlags::SEAL);

/// One such memory, mapped by this process.
pub struct LastingMemory {
    start: NonNull<u8>,
    kind: Kind,
}

// SAFETY: the mapping is the process's, not a thread's, and this value alone uses it.
#[expect(unsafe_code, reason = "a pointer is not Send by itself")]
unsafe impl Send for LastingMemory {}

// SAFETY: shared references only read.
#[expect(unsafe_code, reason = "a pointer is not Sync by itself")]
unsafe impl Sync for LastingMemory {}

/// Why a descriptor is no such memory.
#[derive(Debug)]
pub enum Foreign {
    /// Anything else: a file, a socket, memory that somebody could make shorter.
    Kind(&'static str),
    Size(u64),
    Unusable(io::Error),
}

impl fmt::Display for Foreign {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(what) => write!(formatter, "it is {what}"),
            Self::Size(bytes) => write!(formatter, "it has {bytes} bytes, not {SIZE}"),
            Self::Unusable(error) => write!(formatter, "it cannot be mapped: {error}"),
        }
    }
}

impl std::error::Error for Foreign {}

impl From<Errno> for Foreign {
    fn from(error: Errno) -> Self {
        Self::Unusable(error.into())
    }
}

impl LastingMemory {
    /// New memory, full of zeros, and the descriptor by which it can be had again.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        if let Ok((file, memory)) = Self::secret() {
            return Ok((memory, file));
        }
        let (file, memory) = Self::sealed()?;
        Ok((memory, file))
    }

    fn secret() -> io::Result<(OwnedFd, Self)> {
        let file = memfd_secret(SIZE)?;
        let memory = Self::map(&file, Kind::MemfdSecret)?;
        Ok((file, memory))
    }

    fn sealed() -> io::Result<(OwnedFd, Self)> {
        const NAME: &str = "credd-state";
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // Before Linux 6.3 nobody knows that flag, and later it may be asked for
        // (`vm.memfd_noexec`).
        let file = rustix::fs::memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| rustix::fs::memfd_create(NAME, flags))?;
        rustix::fs::ftruncate(&file, SIZE as u64)?;
        rustix::fs::fcntl_add_seals(&file, SEALS)?;
        let memory = Self::map(&file, Kind::Locked)?;
        Ok((file, memory))
    }

    /// The memory that an earlier process has made, if that is what `descriptor` is.
    pub fn adopt(descriptor: &impl AsFd) -> Result<Self, Foreign> {
        let status = rustix::fs::fstat(descriptor)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(Foreign::Kind("no memory"));
        }
        let kind = if rustix::fs::fstatfs(descriptor)?.f_type == SECRETMEM {
            // The kernel lets nobody change its size once that is set (`secretmem_setattr`).
            Kind::MemfdSecret
        } else {
            match rustix::fs::fcntl_get_seals(descriptor) {
                Ok(seals) if seals.contains(SEALS) => Kind::Locked,
                Ok(_) => return Err(Foreign::Kind("memory that is not sealed")),
                Err(_) => return Err(Foreign::Kind("a file")),
            }
        };
        // After the look at the seals, since which it cannot have changed.
        let size = rustix::fs::fstat(descriptor)?.st_size;
        match u64::try_from(size) {
            Ok(size) if size == SIZE as u64 => Ok(Self::map(descriptor, kind)?),
            other => Err(Foreign::Size(other.unwrap_or(0))),
        }
    }

    fn map(file: &impl AsFd, kind: Kind) -> rustix::io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, where the kernel sees fit, of a file of SIZE bytes which nobody can
        // make shorter.
        #[expect(unsafe_code, reason = "mapping memory")]
        let start = unsafe { mm::mmap(null_mut(), SIZE, protection, MapFlags::SHARED, file, 0)? };
        // Given back by its drop from here on.
        let memory = Self {
            start: NonNull::new(start.cast()).ok_or(Errno::NOMEM)?,
            kind,
        };
        // SAFETY: mapped just now; neither call changes what is in it.
        #[expect(unsafe_code, reason = "advice on memory of one's own")]
        unsafe {
            if kind != Kind::MemfdSecret {
                mm::mlock_with(start, SIZE, MlockFlags::ONFAULT)?;
                let _ = mm::madvise(start, SIZE, Advice::LinuxDontDump);
            }
            // A child of fork(2) runs another program at once, and has no business with it.
            let _ = mm::madvise(start, SIZE, Advice::LinuxDontFork);
        }
        Ok(memory)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Copies `length` bytes from `at` on, or as many as there are.
    pub fn read(&self, at: usize, length: usize) -> Zeroizing<Vec<u8>> {
        let (at, length) = within(at, length);
        let mut bytes = Zeroizing::new(vec![0; length]);
        // SAFETY: `within` says that all of it is in the mapping. Copied, since whoever else has the
        // descriptor could write to it while somebody looks.
        #[expect(unsafe_code, reason = "a look at memory that is shared")]
        unsafe {
            let from = self.start.as_ptr().add(at);
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), length);
        }
        bytes
    }

    /// Puts `bytes` at `at`, or as many of them as there is room for.
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        let (at, length) = within(at, bytes.len());
        // SAFETY: as in `read`; and `bytes` are of this process's own, which never gives references
        // to the mapping.
        #[expect(unsafe_code, reason = "a change of memory that is shared")]
        unsafe {
            let to = self.start.as_ptr().add(at);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, length);
        }
    }

    /// Overwrites `length` bytes from `at` on with zeros.
    pub fn wipe(&mut self, at: usize, length: usize) {
        let (at, length) = within(at, length);
        // SAFETY: as in `read`.
        #[expect(unsafe_code, reason = "a change of memory that is shared")]
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(at), length) };
        bytes.zeroize();
    }
}

fn within(at: usize, length: usize) -> (usize, usize) {
    let at = at.min(SIZE);
    (at, length.min(SIZE - at))
}

impl Drop for LastingMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size, and used by nobody any more.
        #[expect(unsafe_code, reason = "giving memory back")]
        unsafe {
            let _ = mm::munmap(self.start.as_ptr().cast(), SIZE);
        }
    }
}

impl fmt::Debug for LastingMemory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LastingMemory")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn both() -> impl Iterator<Item = (OwnedFd, LastingMemory)> {
        let secret = LastingMemory::secret().ok();
        [secret, LastingMemory::sealed().ok()].into_iter().flatten()
    }

    #[test]
    fn what_is_written_is_there_for_whoever_adopts_it() {
        assert!(both().count() > 0);
        for (descriptor, mut memory) in both() {
            assert!(memory.read(0, SIZE).iter().all(|byte| *byte == 0));
            memory.write(10, b"state");
            memory.write(SIZE - 3, b"state");
            let kind = memory.kind();
            drop(memory);
            let memory = LastingMemory::adopt(&descriptor).unwrap();
            assert_eq!(memory.kind(), kind);
            assert_eq!(**memory.read(9, 7), *b"\0state\0");
            assert_eq!(**memory.read(SIZE - 3, 100), *b"sta");
            assert!(memory.read(SIZE, 1).is_empty());
            assert!(memory.read(usize::MAX, usize::MAX).is_empty());
        }
    }

    #[test]
    fn what_is_wiped_is_zeros() {
        for (_descriptor, mut memory) in both() {
            memory.write(0, &[7; 100]);
            memory.wipe(10, 80);
            let bytes = memory.read(0, 100);
            assert!(bytes[10..90].iter().all(|byte| *byte == 0));
            assert_eq!(bytes[..10], [7; 10]);
            assert_eq!(bytes[90..], [7; 10]);
        }
    }

    #[test]
    fn its_size_can_never_change() {
        for (descriptor, _memory) in both() {
            for size in [0, 1, SIZE as u64 - 1, SIZE as u64 + 1] {
                assert!(rustix::fs::ftruncate(&descriptor, size).is_err(), "{size}");
            }
        }
    }

    #[test]
    fn nothing_else_is_adopted() {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(folder.path().join("file")).unwrap();
        file.set_len(SIZE as u64).unwrap();
        assert!(matches!(LastingMemory::adopt(&file), Err(Foreign::Kind(_))));
        let socket = UnixDatagram::unbound().unwrap();
        assert!(matches!(
            LastingMemory::adopt(&socket),
            Err(Foreign::Kind(_))
        ));
        let sealed = |size: u64, seals| {
            let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
            let file = rustix::fs::memfd_create("test", flags).unwrap();
            rustix::fs::ftruncate(&file, size).unwrap();
            rustix::fs::fcntl_add_seals(&file, seals).unwrap();
            LastingMemory::adopt(&file)
        };
        let size = SIZE as u64;
        assert!(sealed(size, SEALS).is_ok());
        let without_shrink = sealed(size, SealFlags::GROW | SealFlags::SEAL);
        assert!(matches!(without_shrink, Err(Foreign::Kind(_))));
        assert!(matches!(
            sealed(size, SealFlags::empty()),
            Err(Foreign::Kind(_))
        ));
        for other in [0, 1, size - 1, size + 1, size * 2] {
            assert!(matches!(sealed(other, SEALS), Err(Foreign::Size(it)) if it == other));
        }
        // Sealed so well that nobody can write to it.
        let read_only = sealed(size, SEALS | SealFlags::WRITE);
        assert!(matches!(read_only, Err(Foreign::Unusable(_))));
    }
}
