//! Whether the time that a token's comparison takes tells anything of the token: dudect's method
//! (Reparaz, Balasch and Verbauwhede, "Dude, is my code constant time?", 2017).
//!
//! `cargo bench --bench token_timing -- 10000000` measures that many pairs of each two classes of
//! what a caller may present, in turn and at random, and prints the largest of Welch's t over all
//! measurements and over those below each of a hundred percentiles. Beyond 4.5 there is a
//! difference to be learnt.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "figures for people"
)]

use std::hint::black_box;
use std::sync::Arc;

use credd::authz::{Bearer, Presented, TokenName, Tokens, new_token};
use credd::random;
use credd::secret::Secret;

/// What is presented. Each is copied to its place just before it is measured, so that none is nearer
/// to the processor than the other.
#[derive(Clone)]
struct Class {
    name: &'static str,
    token: Option<Vec<u8>>,
}

/// Measurements that only warm up, and of which the percentiles are elapsed.
const FIRST: usize = 10_000;

/// Beyond this, a difference counts as one (ISO/IEC 17825).
const LIMIT: f64 = 4.5;

fn main() {
    let samples = std::env::args().find_map(|it| it.parse().ok());
    let samples: usize = samples.unwrap_or(100_000);
    let tokens = Arc::new(Tokens::default());
    let bearer = Bearer::Token(TokenName::default());
    // The one that is asked for stands between others.
    let secrets = [(); 3].map(|()| new_token());
    let _leases = secrets
        .each_ref()
        .map(|secret| tokens.lease(secret, bearer.clone()));
    let pairs = pairs(&secrets[1]);
    let mut draws = Draws(u64::from_le_bytes(random::bytes()) | 1);
    println!("{samples} measurements a pair; |t| beyond {LIMIT} is a difference");
    let mut largest: f64 = 0.0;
    for [one, other] in &pairs {
        let t = compared(&tokens, one, other, samples, &mut draws);
        largest = largest.max(t);
        println!("{:>16} / {:<16} |t| = {t:.2}", one.name, other.name);
    }
    let verdict = if largest < LIMIT { "none" } else { "one" };
    println!("largest |t| = {largest:.2}: {verdict} to be learnt from");
}

fn pairs(secret: &Secret) -> Vec<[Class; 2]> {
    let right = secret.expose().as_bytes();
    let with = |place: usize| {
        let mut token = right.to_vec();
        if let Some(digit) = token.get_mut(place) {
            *digit = if *digit == b'0' { b'1' } else { b'0' };
        }
        Some(token)
    };
    let class = |name, token| Class { name, token };
    let right_one = class("right", Some(right.to_vec()));
    let first = class("wrong first byte", with(0));
    let last = class("wrong last byte", with(right.len() - 1));
    let short = class("short", Some(b"0".to_vec()));
    let prefix = class("right but short", right.get(..63).map(<[u8]>::to_vec));
    let long = class("long", Some([right, right].concat()));
    let empty = class("empty", Some(Vec::new()));
    let absent = class("absent", None);
    [
        (&right_one, &first),
        (&right_one, &last),
        (&first, &last),
        (&right_one, &prefix),
        (&first, &short),
        (&last, &prefix),
        (&first, &long),
        (&first, &empty),
        (&right_one, &absent),
        (&first, &absent),
        (&short, &absent),
        (&empty, &absent),
    ]
    .map(|(one, other)| [one.clone(), other.clone()])
    .into()
}

/// The largest |t| between two classes.
fn compared(tokens: &Tokens, one: &Class, other: &Class, samples: usize, draws: &mut Draws) -> f64 {
    let mut batch = Batch::new();
    let mut first = Vec::with_capacity(FIRST);
    while first.len() < FIRST {
        batch.measure(tokens, [one, other], draws, |_, time| first.push(time));
    }
    first.sort_by(f64::total_cmp);
    // Thresholds as dudect has them: denser towards the shortest times.
    let share = |index: i32| 1.0 - 0.5_f64.powf(10.0 * f64::from(index + 1) / 100.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let threshold = |index| first.get((share(index) * FIRST as f64) as usize).copied();
    let thresholds: Vec<f64> = (0..100).filter_map(threshold).collect();
    let mut tests = vec![Welch::default(); thresholds.len() + 1];
    for _ in 0..samples.div_ceil(BATCH) {
        batch.measure(tokens, [one, other], draws, |is_other, time| {
            let of_all = std::iter::once(f64::INFINITY);
            let thresholds = of_all.chain(thresholds.iter().copied());
            for (test, threshold) in tests.iter_mut().zip(thresholds) {
                if time < threshold {
                    test.add(is_other, time);
                }
            }
        });
    }
    tests.iter().map(Welch::t).fold(0.0, f64::max)
}

/// Measured one after the other, with nothing in between that depends on their class.
const BATCH: usize = 100;

/// Room for the longest.
const LONGEST: usize = 128;

/// A page of its own, of which one line of the processor's cache is read: all that is presented lies
/// at the same distance from what is written meanwhile, as far as the processor looks at that.
#[repr(align(4096))]
#[derive(Clone)]
struct Room([u8; LONGEST]);

struct Batch {
    rooms: Vec<Room>,
    times: Vec<f64>,
}

impl Batch {
    fn new() -> Self {
        Self {
            rooms: vec![Room([0; LONGEST]); BATCH],
            times: vec![0.0; BATCH],
        }
    }

    fn measure(
        &mut self,
        tokens: &Tokens,
        classes: [&Class; 2],
        draws: &mut Draws,
        mut each: impl FnMut(bool, f64),
    ) {
        let chosen: Vec<bool> = self.rooms.iter().map(|_| draws.next() & 1 == 1).collect();
        let [one, other] = classes;
        for (room, is_other) in self.rooms.iter_mut().zip(&chosen) {
            room.0 = [0; LONGEST];
            let class = if *is_other { other } else { one };
            let token = class.token.as_deref().unwrap_or_default();
            if let Some(to) = room.0.get_mut(..token.len()) {
                to.copy_from_slice(token);
            }
        }
        let presented = self.rooms.iter().zip(&chosen).map(|(room, is_other)| {
            let class = if *is_other { other } else { one };
            class.token.as_ref().and_then(|it| room.0.get(..it.len()))
        });
        let presented: Vec<_> = presented.collect();
        for ((time, token), room) in self.times.iter_mut().zip(&presented).zip(&self.rooms) {
            // Whoever presents nothing has nothing to fetch.
            black_box(room.0.first().copied());
            *time = nanoseconds(tokens, black_box(*token));
        }
        for (is_other, time) in chosen.iter().zip(&self.times) {
            each(*is_other, *time);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "what is measured is time itself")]
fn nanoseconds(tokens: &Tokens, token: Option<&[u8]>) -> f64 {
    let begun = std::time::Instant::now();
    let presented: Arc<Presented> = tokens.presented(token);
    let elapsed = begun.elapsed();
    drop(black_box(presented));
    elapsed.as_nanos() as f64
}

/// Means and variances of two classes as they grow (Welford).
#[derive(Clone, Default)]
struct Welch([Moments; 2]);

#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Welch {
    fn add(&mut self, is_other: bool, value: f64) {
        let [one, other] = &mut self.0;
        let moments = if is_other { other } else { one };
        moments.count += 1.0;
        let off = value - moments.mean;
        moments.mean += off / moments.count;
        moments.squares += off * (value - moments.mean);
    }

    /// Nothing where there are too few to say.
    fn t(&self) -> f64 {
        const FEWEST: f64 = 1000.0;
        if self.0.iter().any(|it| it.count < FEWEST) {
            return 0.0;
        }
        let [one, other] = self.0;
        let error = |it: Moments| it.squares / (it.count - 1.0) / it.count;
        let spread = (error(one) + error(other)).sqrt();
        if spread == 0.0 {
            return 0.0;
        }
        ((one.mean - other.mean) / spread).abs()
    }
}

/// xorshift64: which class comes next must not be foreseen by a branch predictor.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 32
    }
}
