//! Codes that have been sent: AWS takes each once, so credd never sends one again, whichever
//! identity asks and whether or not it was started anew in between.

use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;

use super::MfaCode;
use crate::clock::BootInstant;
use crate::os::{files, process};

/// How long a code may be taken after it was sent: the rest of its step and, since AWS takes the
/// code of a neighbouring step from devices that are slow or fast (RFC 6238, 5.2), two more.
///
/// It is measured by the clock that never steps, so that setting the wall clock neither frees a
/// code early nor keeps it for ever.
pub const VALIDITY: Duration = Duration::from_secs(90);

/// Codes remembered. A device shows three within [`VALIDITY`], so these are many devices.
const MOST: usize = 256;

const SALT: usize = 32;

/// What the file begins with.
const TITLE: &str = "credd used MFA codes, version 1";

/// Bytes of a file with as many codes as it may hold, and some.
const LARGEST: usize = 32 * 1024;

/// The codes used of late, in memory and in a file of the runtime directory.
#[derive(Debug, Clone)]
pub struct UsedCodes(Arc<Store>);

#[derive(Debug)]
struct Store {
    memory: Mutex<Memory>,
    /// None keeps them in memory alone.
    path: Option<PathBuf>,
    /// Held while the file is written, by whoever writes.
    writing: Arc<tokio::sync::Mutex<()>>,
    has_warned: AtomicBool,
}

/// The right to send a code, once. Letting go of it changes nothing: the code counts as sent.
#[derive(Debug)]
#[must_use = "a claim is the right to send its code"]
pub struct Claim {
    store: Arc<Store>,
    used: Use,
}

/// The code has been sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlreadyUsed {
    /// Until AWS has surely forgotten it. A device shows its next code sooner.
    pub free_in: Duration,
}

impl UsedCodes {
    /// Reads what an earlier run has left at `path`. What cannot be used is not: a file that
    /// somebody else may have written, or that is no such file. `salt` is for a new file.
    ///
    /// Reads at once: for start-up, where nothing else waits.
    pub fn load(path: PathBuf, salt: [u8; SALT], now: BootInstant) -> Self {
        let memory = match earlier(&path, now) {
            Ok(memory) => memory,
            Err(error) => {
                tracing::warn!(
                    path = %path.display(), %error,
                    "cannot use the record of used MFA codes; a new one takes its place"
                );
                None
            }
        };
        let memory = memory.unwrap_or_else(|| Memory::new(salt));
        Self::with(memory, Some(path))
    }

    /// Those of a process that leaves nothing behind.
    pub fn in_memory(salt: [u8; SALT]) -> Self {
        Self::with(Memory::new(salt), None)
    }

    fn with(memory: Memory, path: Option<PathBuf>) -> Self {
        Self(Arc::new(Store {
            memory: Mutex::new(memory),
            path,
            writing: Arc::default(),
            has_warned: AtomicBool::new(false),
        }))
    }

    /// Takes the code of the device `serial` for use, and has that on disk before it returns.
    ///
    /// Dropped half-way, it leaves the code used. A disk that fails costs the memory across
    /// restarts and no more.
    pub async fn claim(
        &self,
        serial: &str,
        code: &MfaCode,
        now: BootInstant,
    ) -> Result<Claim, AlreadyUsed> {
        let used = self.0.memory().admit(serial, code, now)?;
        self.0.write().await;
        Ok(Claim {
            store: Arc::clone(&self.0),
            used,
        })
    }

    /// Whether the code has been sent before.
    pub fn check(&self, serial: &str, code: &MfaCode, now: BootInstant) -> Result<(), AlreadyUsed> {
        let memory = self.0.memory();
        memory.check(&memory.hash(serial, code), now)
    }
}

impl Claim {
    /// Gives the code back: the request that was to carry it has surely not left this host.
    ///
    /// The file is left as it is until the next claim. Should the process end before, a code that
    /// is still good is refused, and a person waits for the next.
    pub fn release(self) {
        let mut memory = self.store.memory();
        memory.uses.retain(|used| *used != self.used);
    }
}

impl Store {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Nothing that is done under the lock can panic half-way.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self) {
        let Some(path) = &self.path else { return };
        let writing = Arc::clone(&self.writing).lock_owned().await;
        // Taken once it is this one's turn, so that the last to write writes the latest.
        let (file, contents) = (path.clone(), self.memory().render());
        let written = tokio::task::spawn_blocking(move || {
            let written = files::write_private(&file, contents.as_bytes());
            // Even if nobody waits any more, the next has to wait for this.
            drop(writing);
            written
        });
        if let Err(error) = written.await.map_err(io::Error::other).flatten()
            && !self.has_warned.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                path = %path.display(), %error,
                "cannot write down which MFA codes are used: until that works, credd knows them \
                 only as long as it runs"
            );
        }
    }
}

/// What is remembered. Codes are kept as salted hashes, so that what is left on a disk shows
/// neither a code nor, without some work, whose it was.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    salt: [u8; SALT],
    /// In the order in which they become free.
    uses: VecDeque<Use>,
}

type Hash = [u8; digest::SHA256_OUTPUT_LEN];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Use {
    hash: Hash,
    free: BootInstant,
}

impl Memory {
    fn new(salt: [u8; SALT]) -> Self {
        Self {
            salt,
            uses: VecDeque::new(),
        }
    }

    fn hash(&self, serial: &str, code: &MfaCode) -> Hash {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.salt);
        context.update(serial.as_bytes());
        // In no serial, so that no two pairs make the same bytes.
        context.update(&[0]);
        context.update(code.expose().as_bytes());
        let mut hash = Hash::default();
        // The algorithm's own length: all of it is copied.
        hash.iter_mut()
            .zip(context.finish().as_ref())
            .for_each(|(to, from)| *to = *from);
        hash
    }

    fn check(&self, hash: &Hash, now: BootInstant) -> Result<(), AlreadyUsed> {
        let earlier = self.uses.iter().find(|used| used.hash == *hash);
        let free_in = earlier.map_or(Duration::ZERO, |used| now.until(used.free));
        if free_in.is_zero() {
            Ok(())
        } else {
            Err(AlreadyUsed { free_in })
        }
    }

    fn admit(
        &mut self,
        serial: &str,
        code: &MfaCode,
        now: BootInstant,
    ) -> Result<Use, AlreadyUsed> {
        let hash = self.hash(serial, code);
        self.check(&hash, now)?;
        self.uses.retain(|used| !now.until(used.free).is_zero());
        while self.uses.len() >= MOST {
            self.uses.pop_front();
        }
        let used = Use {
            hash,
            free: now.after(VALIDITY),
        };
        self.uses.push_back(used);
        Ok(used)
    }

    fn render(&self) -> String {
        let hashes = self.uses.iter().map(|used| &used.hash);
        let lines = std::iter::once(&self.salt).chain(hashes);
        let mut text = format!("{TITLE}\n");
        for line in lines {
            for byte in line {
                // Writing to a String cannot fail.
                let _ = write!(text, "{byte:02x}");
            }
            text.push('\n');
        }
        text
    }

    /// Reads what [`Memory::render`] wrote. The clock may have begun anew since, so that every
    /// code counts as used just now: longer than needed, never shorter.
    fn parse(text: &str, now: BootInstant) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        lines.next().filter(|title| *title == TITLE)?;
        let salt = hexadecimal(lines.next()?)?;
        let free = now.after(VALIDITY);
        let uses = lines.map(|line| {
            let hash = hexadecimal(line)?;
            Some(Use { hash, free })
        });
        let uses: VecDeque<Use> = uses.collect::<Option<_>>()?;
        (uses.len() <= MOST).then_some(Self { salt, uses })
    }
}

/// 32 bytes in 64 digits.
fn hexadecimal(line: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = line.as_bytes().as_chunks::<2>();
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let digit = |sign: u8| char::from(sign).to_digit(16);
        let [high, low] = pair.map(digit);
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(bytes)
}

/// What an earlier run has left, if it left anything.
fn earlier(path: &Path, now: BootInstant) -> io::Result<Option<Memory>> {
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    let is_ours = metadata.is_file()
        && metadata.uid() == process::effective_uid()
        && metadata.mode() & 0o777 & !0o700 == 0;
    if !is_ours {
        return Err(io::Error::other(
            "it is not a file that only credd's own user can read and write",
        ));
    }
    let text = files::read_text_now(path, LARGEST)?;
    let memory = Memory::parse(&text, now);
    memory
        .map(Some)
        .ok_or_else(|| io::Error::other("it is not as credd writes it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(number: u32) -> MfaCode {
        MfaCode::parse(&format!("{number:06}")).unwrap()
    }

    fn at(seconds: u64) -> BootInstant {
        BootInstant::since_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn a_code_belongs_to_its_device() {
        let mut memory = Memory::new([7; SALT]);
        memory.admit("arn:a", &code(1), at(0)).unwrap();
        memory.admit("arn:b", &code(1), at(0)).unwrap();
        memory.admit("arn:a", &code(2), at(0)).unwrap();
        assert_eq!(
            memory.admit("arn:a", &code(1), at(89)),
            Err(AlreadyUsed {
                free_in: Duration::from_secs(1)
            })
        );
        memory.admit("arn:a", &code(1), at(90)).unwrap();
        // Those that are free again have made room.
        assert_eq!(memory.uses.len(), 1);
    }

    #[test]
    fn the_file_shows_no_code_and_no_device() {
        let mut memory = Memory::new([7; SALT]);
        memory.admit("arn:ops", &code(837_261), at(0)).unwrap();
        let text = memory.render();
        assert!(!text.contains("837261") && !text.contains("ops"));
        let other = Memory::new([8; SALT]);
        assert_ne!(
            memory.hash("arn:ops", &code(1)),
            other.hash("arn:ops", &code(1))
        );
    }

    #[test]
    fn a_file_that_is_not_as_written_is_refused() {
        let mut memory = Memory::new([7; SALT]);
        memory.admit("arn:ops", &code(1), at(0)).unwrap();
        let good = memory.render();
        assert!(Memory::parse(&good, at(0)).is_some());
        for bad in [
            String::new(),
            "\n".to_owned(),
            good.replace("version 1", "version 2"),
            good.replacen("07", "0x", 1),
            good.replacen("07", "0é", 1),
            good.trim_end().to_owned(),
            format!("{good}\n"),
            format!("{good}00\n"),
            good.lines().take(1).collect::<String>() + "\n",
            good.clone() + &format!("{}\n", "0".repeat(64)).repeat(MOST),
        ] {
            assert!(Memory::parse(&bad, at(0)).is_none(), "{bad}");
        }
        assert!(good.len() + 65 * MOST < LARGEST);
    }

    /// What may happen: time passes, a code is tried, or credd is started anew, perhaps after the
    /// host, whose clock begins at nothing then.
    #[derive(Debug, Clone)]
    enum Event {
        Pass(u64),
        Try(u32),
        Restart { reboots: bool },
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0_u64..60).prop_map(Event::Pass),
            (0_u32..4).prop_map(Event::Try),
            any::<bool>().prop_map(|reboots| Event::Restart { reboots }),
        ]
    }

    proptest! {
        #[test]
        fn no_code_is_sent_twice_while_it_is_valid_and_none_is_refused_for_ever(
            events in proptest::collection::vec(event(), 0..60),
        ) {
            let mut memory = Memory::new([7; SALT]);
            let (mut boot, mut real, mut started) = (1000, 0_u64, 0);
            let mut sent: [Option<u64>; 4] = [None; 4];
            for event in events {
                match event {
                    Event::Pass(seconds) => {
                        boot += seconds;
                        real += seconds;
                    }
                    Event::Try(number) => {
                        let outcome = memory.admit("arn:ops", &code(number), at(boot));
                        let last = &mut sent[number as usize];
                        let is_valid = last.is_some_and(|last| real - last < 90);
                        prop_assert!(!(is_valid && outcome.is_ok()));
                        let is_settled = last.is_none_or(|last| real - last.max(started) >= 90);
                        prop_assert!(!is_settled || outcome.is_ok());
                        if outcome.is_ok() {
                            *last = Some(real);
                        }
                    }
                    Event::Restart { reboots } => {
                        boot = if reboots { 0 } else { boot };
                        started = real;
                        memory = Memory::parse(&memory.render(), at(boot)).unwrap();
                    }
                }
            }
        }

        #[test]
        fn the_memory_is_bounded_and_its_file_readable(count in 0_u32..600) {
            let mut memory = Memory::new([7; SALT]);
            for number in 0..count {
                memory.admit("arn:ops", &code(number), at(5)).unwrap();
            }
            prop_assert!(memory.uses.len() <= MOST);
            prop_assert_eq!(Memory::parse(&memory.render(), at(5)), Some(memory));
        }

        #[test]
        fn no_file_makes_the_reader_panic(text in "\\PC*") {
            let _ = Memory::parse(&text, at(0));
            let _ = Memory::parse(&format!("{TITLE}\n{text}\n"), at(0));
        }
    }
}
