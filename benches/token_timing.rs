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

impl Class {
    fn held(&self) -> [u8; LONGEST] {
        let mut held = [0; LONGEST];
        let token = self.token.as_deref().unwrap_or_default();
        if let Some(to) = held.get_mut(..token.len()) {
            to.copy_from_slice(token);
        }
        held
    }
}

/// Measurements that only warm up, and of which the thresholds are made.
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
    let classes = [one, other];
    let held = classes.map(Class::held);
    let lengths = classes.map(|class| class.token.as_ref().map(Vec::len));
    let mut room = Box::new(Room([0; LONGEST]));
    // The one before is told to `tell` between the writing of a token and its measurement, so that
    // what was written has arrived by then.
    let mut measure = |count: usize, tell: &mut dyn FnMut(bool, f64)| {
        let mut before = (false, f64::INFINITY);
        for _ in 0..count {
            let is_other = draws.next() & 1 == 1;
            let class = usize::from(is_other);
            room.0 = held.get(class).copied().unwrap_or([0; LONGEST]);
            let length = lengths.get(class).copied().flatten();
            tell(before.0, before.1);
            // Both lines of the processor's cache, of which it may read ahead.
            black_box((room.0.first().copied(), room.0.last().copied()));
            let token = length.and_then(|length| room.0.get(..length));
            before = (is_other, nanoseconds(tokens, black_box(token)));
        }
    };
    let mut first = Vec::with_capacity(FIRST);
    measure(FIRST, &mut |_, time| first.push(time));
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
    measure(samples, &mut |is_other, time| {
        let of_all = std::iter::once(f64::MAX);
        for (test, threshold) in tests
            .iter_mut()
            .zip(of_all.chain(thresholds.iter().copied()))
        {
            if time < threshold {
                test.add(is_other, time);
            }
        }
    });
    tests.iter().map(Welch::t).fold(0.0, f64::max)
}

/// Room for the longest.
const LONGEST: usize = 128;

/// Where all are presented.
#[repr(align(128))]
struct Room([u8; LONGEST]);

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
