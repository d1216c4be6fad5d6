//! What a service manager hands over as the state of an earlier run: slots, and what is in them.
#![no_main]

use credd::state::{Region, Slots, decode, encode};
use libfuzzer_sys::fuzz_target;
use zeroize::Zeroizing;

/// Bytes from anywhere as a region.
#[derive(Debug)]
struct Bytes<'a>(&'a mut [u8]);

impl Region for Bytes<'_> {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn read(&self, at: usize, length: usize) -> Zeroizing<Vec<u8>> {
        let end = at.saturating_add(length).min(self.0.len());
        Zeroizing::new(self.0.get(at..end).unwrap_or_default().to_vec())
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        for (place, byte) in self.0.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    }

    fn wipe(&mut self, at: usize, length: usize) {
        for place in self.0.iter_mut().skip(at).take(length) {
            *place = 0;
        }
    }
}

const VERSION: u32 = 1;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(contents) = decode(bytes) {
        let sets = contents.sets.iter().map(|set| &set.credentials);
        let sessions = contents.sessions.iter().map(|session| &session.credentials);
        assert!(sets.chain(sessions).all(|it| !it.is_long_lived()));
        // What is written is what is read.
        let written = encode(&contents);
        let read = decode(&written).map(|contents| encode(&contents));
        assert_eq!(read.as_deref(), Ok(&*written));
    }
    let mut memory = bytes.to_vec();
    let slots = Slots::open(Bytes(&mut memory), VERSION);
    if slots.is_ok_and(|(mut slots, _)| slots.put(b"payload")) {
        let reopened = Slots::open(Bytes(&mut memory), VERSION);
        let (_, payload) = reopened.expect("a whole slot was written");
        assert_eq!(payload.as_deref().map(Vec::as_slice), Some(&b"payload"[..]));
    }
});
