//! What will go wrong, and when.

use std::time::Duration;

use super::world::Source;
use crate::support::chance::Chance;

/// How long a simulation lasts.
pub(super) const HORIZON: Duration = Duration::from_hours(12);

/// What follows the last fault.
pub(super) const CALM: Duration = Duration::from_hours(1);

/// From here on nothing goes wrong any more.
const HEALED: Duration = Duration::from_hours(11);

/// The longest delay there is (`retry::CAP`), an attempt that was under way and ends in its
/// deadline, and one round trip.
pub(super) const RECOVERY: Duration = Duration::from_secs(120 + 30 + 5);

/// Hints beyond this would put the recovery off.
pub(super) const LONGEST_HINT: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Refuses,
    NeverAnswers,
    Fails,
    /// With a hint of so many seconds, or none.
    Throttles(Option<u64>),
    Denies,
    Lies,
    IsSlow,
}

#[derive(Debug, Clone)]
struct Window {
    source: Option<Source>,
    from: Duration,
    to: Duration,
    fault: Fault,
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The wall clock is set, by so many milliseconds.
    Step(i64),
    Suspend(Duration),
    /// Clients come.
    Demand,
    Look,
    Heal,
}

#[derive(Debug, Clone)]
pub(super) struct Weather {
    windows: Vec<Window>,
}

impl Weather {
    pub(super) fn forecast(chance: &mut Chance) -> Self {
        let count = chance.between(0, 10);
        let windows = (0..count).map(|_| Window::forecast(chance)).collect();
        Self { windows }
    }

    pub(super) fn fault(&self, source: Source, passed: Duration) -> Option<Fault> {
        let hits = |window: &&Window| {
            window.source.is_none_or(|it| it == source)
                && (window.from..window.to).contains(&passed)
        };
        self.windows.iter().find(hits).map(|window| window.fault)
    }

    /// What happens besides, in order.
    pub(super) fn events(&self, chance: &mut Chance) -> Vec<(Duration, Event)> {
        let mut events = vec![(HEALED, Event::Heal)];
        for _ in 0..chance.between(0, 4) {
            // A second, a minute, an hour or a day, either way.
            let scale = [1_000, 60_000, 3_600_000, 86_400_000][index(chance, 4)];
            let millis = i64::try_from(chance.between(1, 2 * scale)).unwrap();
            let millis = if chance.one_in(2) { millis } else { -millis };
            events.push((before(chance, HEALED), Event::Step(millis)));
        }
        for _ in 0..chance.between(0, 3) {
            let most = [60, 3_600, 4 * 3_600][index(chance, 3)];
            let duration = Duration::from_secs(chance.between(1, most));
            events.push((before(chance, HEALED), Event::Suspend(duration)));
        }
        for _ in 0..chance.between(0, 10) {
            events.push((before(chance, HORIZON), Event::Demand));
        }
        for window in &self.windows {
            events.push((window.from, Event::Look));
            events.push((window.to, Event::Look));
        }
        events.sort_by_key(|(instant, _)| *instant);
        events
    }
}

impl Window {
    fn forecast(chance: &mut Chance) -> Self {
        let fault = match chance.between(0, 7) {
            0 => Fault::Refuses,
            1 => Fault::NeverAnswers,
            2 => Fault::Fails,
            3 => Fault::Throttles(None),
            4 => Fault::Throttles(Some(chance.between(0, LONGEST_HINT))),
            5 => Fault::Denies,
            6 => Fault::IsSlow,
            _ => Fault::Lies,
        };
        let most = [30, 600, 5_400][index(chance, 3)];
        let from = before(chance, HEALED);
        let to = from + Duration::from_secs(chance.between(1, most));
        Self {
            source: (!chance.one_in(3)).then(|| Source::ALL[index(chance, 5)]),
            from,
            to: to.min(HEALED),
            fault,
        }
    }
}

fn index(chance: &mut Chance, count: u64) -> usize {
    usize::try_from(chance.between(0, count - 1)).unwrap()
}

fn before(chance: &mut Chance, end: Duration) -> Duration {
    let millis = u64::try_from(end.as_millis()).unwrap();
    Duration::from_millis(chance.between(0, millis - 1))
}
