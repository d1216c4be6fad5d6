//! Chance, handed in so that a seed can decide everything.

/// A number drawn evenly from 0 up to, but not including, 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Draw(f64);

impl Draw {
    /// The share `share` of the way from nothing to all; values outside are brought to the edge.
    pub fn new(share: f64) -> Self {
        // A NaN would make every comparison after it false.
        let share = if share.is_nan() { 0.0 } else { share };
        Self(share.clamp(0.0, 1.0 - f64::EPSILON))
    }

    pub fn share(self) -> f64 {
        self.0
    }
}

/// Where draws come from.
pub trait Draws: Send {
    fn draw(&mut self) -> Draw;
}

/// The kernel's generator.
#[derive(Debug, Default)]
pub struct SystemDraws;

impl Draws for SystemDraws {
    fn draw(&mut self) -> Draw {
        let word = u32::from_le_bytes(bytes());
        Draw::new(f64::from(word) / (f64::from(u32::MAX) + 1.0))
    }
}

/// `COUNT` unpredictable bytes from `getrandom(2)`.
///
/// # Panics
///
/// If the kernel cannot provide them, which Linux documents not to happen for such small requests
/// once the pool is ready; going on with guessable tokens would be worse.
#[expect(
    clippy::expect_used,
    reason = "no safe way to go on without randomness"
)]
pub fn bytes<const COUNT: usize>() -> [u8; COUNT] {
    let mut buffer = [0; COUNT];
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => filled += outcome.expect("getrandom(2) works on every supported kernel"),
        }
    }
    buffer
}
