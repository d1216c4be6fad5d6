//! Repeats of one decision within a second become one line with a count.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::event::{Decision, Event};
use super::line::Line;
use crate::clock::Timestamp;

/// How long a line takes repeats, from the first on.
pub const WINDOW: Duration = Duration::from_secs(1);

/// Lines that wait to be written, at most: of usual ones 1.5 MiB. As many may be under way.
pub const CAPACITY: usize = 2048;

/// Lines that are written without waiting for their repeats, so that there is room again.
const CROWD: usize = CAPACITY / 2;

/// Room that denials leave: who is denied in ever new ways must not keep hand-outs from being
/// written down.
const KEPT_FOR_GRANTS: usize = CAPACITY / 4;

/// Lines in the order in which they were begun, some of them open for repeats.
#[derive(Debug, Default)]
pub(super) struct Coalescer {
    lines: VecDeque<Line>,
    /// The newest line of each likeness, by its number.
    newest: BTreeMap<u64, u64>,
    /// The number of the first of `lines`: how many have been taken.
    taken: u64,
    /// Decisions dropped since the last line was begun.
    dropped: u64,
}

/// What became of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Noted {
    /// It is counted in a line that is there.
    Repeat,
    /// It has a line of its own. With it there are as many as this.
    Begun(usize),
    Dropped,
}

/// When there is something to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Not before something is noted.
    Nothing,
    In(Duration),
    Now,
}

impl Noted {
    /// Whether whoever waits for lines should look again.
    pub(super) fn is_news(self) -> bool {
        matches!(self, Self::Begun(1 | CROWD))
    }
}

impl Coalescer {
    pub(super) fn note(&mut self, now: Timestamp, event: &Event<'_>) -> Noted {
        let likeness = event.likeness();
        if let Some(line) = self.newest_of(likeness)
            && !line.is_closed(now)
            && line.event.is_like(event)
        {
            line.count += 1;
            line.last = now;
            line.last_request = event.request;
            return Noted::Repeat;
        }
        let capacity = match event.decision {
            Decision::Granted => CAPACITY,
            Decision::Denied(_) => CAPACITY - KEPT_FOR_GRANTS,
        };
        if self.lines.len() >= capacity {
            self.dropped += 1;
            return Noted::Dropped;
        }
        let number = self.taken.saturating_add(self.lines.len() as u64);
        let dropped = std::mem::take(&mut self.dropped);
        self.lines.push_back(Line::begin(now, event, dropped));
        self.newest.insert(likeness, number);
        Noted::Begun(self.lines.len())
    }

    fn newest_of(&mut self, likeness: u64) -> Option<&mut Line> {
        let number = self.newest.get(&likeness)?.checked_sub(self.taken)?;
        self.lines.get_mut(usize::try_from(number).ok()?)
    }

    pub(super) fn next(&self, now: Timestamp) -> Next {
        match self.lines.front() {
            None => Next::Nothing,
            Some(first) if self.lines.len() < CROWD && !first.is_closed(now) => {
                Next::In(now.until(first.first.plus(WINDOW)))
            }
            Some(_) => Next::Now,
        }
    }

    /// The lines that can be written now: all of a crowd, and else those that take no more repeats.
    pub(super) fn take(&mut self, now: Timestamp) -> VecDeque<Line> {
        if self.lines.len() >= CROWD {
            return self.take_all();
        }
        let closed = self.lines.iter().take_while(|line| line.is_closed(now));
        let count = closed.count();
        let lines = self.lines.drain(..count).collect();
        self.has_taken(count);
        lines
    }

    pub(super) fn take_all(&mut self) -> VecDeque<Line> {
        // What a crowd has taken of memory goes with it.
        let lines = std::mem::take(&mut self.lines);
        self.has_taken(lines.len());
        lines
    }

    fn has_taken(&mut self, count: usize) {
        self.taken = self.taken.saturating_add(count as u64);
        let taken = self.taken;
        self.newest.retain(|_, number| *number >= taken);
    }

    /// Lines that wait.
    pub(super) fn waiting(&self) -> usize {
        self.lines.len()
    }

    /// Counts `decisions` as dropped that had been taken, and could not be written.
    pub(super) fn lose(&mut self, decisions: u64) {
        self.dropped = self.dropped.saturating_add(decisions);
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::event::{Caller, RequestId};
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::parse("2026-11-22T09:30:00Z")
            .unwrap()
            .plus(Duration::from_millis(millis))
    }

    fn event(uid: u32, identity: &str, number: u64) -> Event<'_> {
        Event {
            decision: Decision::Granted,
            rule: Some("owner".into()),
            identity: Some(identity.into()),
            asked: None,
            role: None,
            access_key: None,
            expiry: None,
            caller: Caller {
                uid: Some(uid),
                ..Caller::default()
            },
            listener: "unix".into(),
            user_agent: None,
            request: RequestId { process: 1, number },
        }
    }

    fn uids(count: usize) -> std::ops::Range<u32> {
        0..u32::try_from(count).unwrap()
    }

    fn denied(uid: u32) -> Event<'static> {
        Event {
            decision: Decision::Denied("no rule".into()),
            ..event(uid, "billing", 0)
        }
    }

    #[test]
    fn repeats_within_a_second_of_the_first_are_one_line() {
        let mut coalescer = Coalescer::default();
        for (number, millis) in [0, 1, 500, 999].into_iter().enumerate() {
            let _ = coalescer.note(at(millis), &event(1000, "a", number as u64));
        }
        assert_eq!(
            coalescer.next(at(400)),
            Next::In(Duration::from_millis(600))
        );
        assert!(coalescer.take(at(999)).is_empty());
        assert_eq!(
            coalescer.note(at(1000), &event(1000, "a", 9)),
            Noted::Begun(2)
        );
        let lines = coalescer.take(at(1000));
        let line = lines.front().unwrap();
        assert_eq!((lines.len(), line.count), (1, 4));
        assert_eq!((line.first, line.last), (at(0), at(999)));
        assert_eq!(
            (line.event.request.number, line.last_request.number),
            (0, 3)
        );
        assert_eq!(coalescer.take_all().front().unwrap().count, 1);
        assert_eq!(coalescer.next(at(5000)), Next::Nothing);
    }

    #[test]
    fn another_decision_or_caller_is_another_line_and_another_user_agent_is_not() {
        type Change = fn(&mut Event<'static>);
        let changes: [(Change, bool); 12] = [
            (|it| it.decision = Decision::Denied("x".into()), true),
            (|it| it.rule = None, true),
            (|it| it.identity = Some("b".into()), true),
            (|it| it.role = Some("arn".into()), true),
            (|it| it.expiry = Some(at(0)), true),
            (|it| it.caller.pid = Some(7), true),
            (|it| it.caller.gid = Some(7), true),
            (|it| it.caller.unit = Some("a.service".into()), true),
            (|it| it.caller.token = Some("worker".into()), true),
            (|it| it.listener = "http".into(), true),
            (|it| it.user_agent = Some("curl".into()), false),
            (|it| it.asked = Some("b".into()), false),
        ];
        for (index, (change, is_other)) in changes.into_iter().enumerate() {
            let mut coalescer = Coalescer::default();
            let mut other = event(1000, "a", 0).retained();
            let _ = coalescer.note(at(0), &other);
            change(&mut other);
            let noted = coalescer.note(at(1), &other);
            assert_eq!(noted == Noted::Begun(2), is_other, "change {index}");
        }
    }

    #[test]
    fn who_is_denied_is_one_line_however_many_processes_it_is() {
        let mut coalescer = Coalescer::default();
        for pid in 1..100 {
            let mut denied = event(1000, "a", 0).retained();
            denied.decision = Decision::Denied("no rule".into());
            denied.caller.pid = Some(pid);
            let _ = coalescer.note(at(0), &denied);
        }
        assert_eq!(coalescer.waiting(), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_holds_no_line_up() {
        let mut coalescer = Coalescer::default();
        let _ = coalescer.note(at(3_600_000), &event(1, "a", 0));
        assert_eq!(coalescer.note(at(0), &event(1, "a", 1)), Noted::Begun(2));
        assert_eq!(coalescer.next(at(0)), Next::Now);
        assert_eq!(coalescer.take(at(0)).len(), 1);
        assert_eq!(coalescer.next(at(0)), Next::In(WINDOW));
    }

    #[test]
    fn a_crowd_is_written_at_once() {
        let mut coalescer = Coalescer::default();
        for uid in uids(CROWD) {
            let noted = coalescer.note(at(0), &event(uid, "a", 0));
            let is_edge = uid == 0 || uid as usize == CROWD - 1;
            assert_eq!(noted.is_news(), is_edge, "{uid}");
        }
        assert_eq!(coalescer.next(at(0)), Next::Now);
        assert_eq!(coalescer.take(at(0)).len(), CROWD);
        // What is taken takes no more repeats.
        assert_eq!(coalescer.note(at(0), &event(1, "a", 0)), Noted::Begun(1));
    }

    #[test]
    fn what_finds_no_room_is_counted_in_the_next_line() {
        let mut coalescer = Coalescer::default();
        for uid in uids(CAPACITY) {
            let noted = coalescer.note(at(0), &event(uid, "a", 0));
            assert_eq!(noted, Noted::Begun(uid as usize + 1));
        }
        for uid in 0..3 {
            let noted = coalescer.note(at(0), &event(100_000 + uid, "a", 0));
            assert_eq!(noted, Noted::Dropped);
        }
        // Who has a line is still counted.
        assert_eq!(coalescer.note(at(0), &event(7, "a", 0)), Noted::Repeat);
        coalescer.take_all();
        coalescer.lose(2);
        let _ = coalescer.note(at(0), &event(1, "a", 0));
        let _ = coalescer.note(at(0), &event(2, "a", 0));
        let lines = coalescer.take_all();
        let dropped: Vec<_> = lines.iter().map(|line| line.dropped).collect();
        assert_eq!(dropped, [5, 0]);
    }

    #[test]
    fn denials_leave_room_for_grants() {
        let mut coalescer = Coalescer::default();
        for uid in uids(2 * CAPACITY) {
            let _ = coalescer.note(at(0), &denied(uid));
        }
        assert_eq!(coalescer.waiting(), CAPACITY - KEPT_FOR_GRANTS);
        for uid in uids(KEPT_FOR_GRANTS) {
            assert_ne!(coalescer.note(at(0), &event(uid, "a", 0)), Noted::Dropped);
        }
        assert_eq!(coalescer.note(at(0), &event(9, "b", 0)), Noted::Dropped);
    }

    proptest! {
        /// Whatever happens and however the clock goes: each decision is in exactly one line or
        /// counted as dropped, in lines that name its caller and that span a second at most.
        #[test]
        fn nothing_is_lost_but_what_is_counted_as_dropped(
            steps in prop::collection::vec((0..12_u32, 0..3_usize, -200..900_i64, 0..10_u8), 1..400),
        ) {
            let (mut coalescer, mut now) = (Coalescer::default(), 0_i64);
            let (mut lines, mut noted, mut dropped) = (Vec::new(), BTreeMap::new(), 0);
            for (number, (uid, identity, pause, act)) in steps.into_iter().enumerate() {
                now = (now + pause).max(0);
                let time = at(now.cast_unsigned());
                if act == 0 {
                    lines.extend(coalescer.take(time));
                }
                let identity = ["a", "b", "c"][identity];
                match coalescer.note(time, &event(uid, identity, number as u64)) {
                    Noted::Dropped => dropped += 1,
                    Noted::Repeat | Noted::Begun(_) => {
                        *noted.entry((uid, identity.to_owned())).or_insert(0) += 1;
                    }
                }
            }
            lines.extend(coalescer.take_all());
            let mut written = BTreeMap::new();
            for line in &lines {
                prop_assert!(line.first <= line.last);
                prop_assert!(line.first.until(line.last) < WINDOW);
                prop_assert!(line.event.request <= line.last_request);
                let identity = line.event.identity.as_deref().map(Cow::Borrowed);
                let key = (line.event.caller.uid.unwrap(), identity.unwrap().into_owned());
                *written.entry(key).or_insert(0) += line.count;
            }
            prop_assert_eq!(written, noted);
            prop_assert_eq!(dropped, 0);
            let begun: Vec<_> = lines.iter().map(|line| line.event.request).collect();
            prop_assert!(begun.is_sorted(), "lines keep the order in which they were begun");
        }

        /// With more callers than there is room for, what is written and what is dropped add up.
        #[test]
        fn written_and_dropped_add_up(
            takes in prop::collection::vec(0..4_u8, 0..40),
            callers in 1..300_u32,
        ) {
            let (mut coalescer, mut sum, mut noted) = (Coalescer::default(), 0, 0_u64);
            for (round, act) in takes.iter().enumerate() {
                for uid in 0..callers {
                    let uid = uid + callers * u32::try_from(round).unwrap();
                    let _ = coalescer.note(at(round as u64), &event(uid, "a", 0));
                    noted += 1;
                }
                if *act == 0 {
                    let lines = coalescer.take(at(round as u64));
                    sum += lines.iter().map(|line| line.count + line.dropped).sum::<u64>();
                }
                prop_assert!(coalescer.waiting() <= CAPACITY);
            }
            let rest = coalescer.take_all();
            sum += rest.iter().map(|line| line.count + line.dropped).sum::<u64>();
            prop_assert_eq!(sum + coalescer.dropped, noted);
        }
    }
}
