//! Whether the loops that everything depends on still come round: each is asked, and answers by the
//! same `select!` that does its work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, watch};

/// All loops that are asked.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Asking>);

#[derive(Debug, Default)]
struct Asking {
    /// How many questions there have been.
    asked: watch::Sender<u64>,
    loops: Mutex<Vec<Weak<Loop>>>,
    /// Told of each answer, and of each loop that has ended.
    changed: Notify,
}

#[derive(Debug)]
struct Loop {
    name: String,
    /// The last question that it has answered.
    answered: AtomicU64,
}

/// A loop's own end. One that is dropped is asked no more.
#[derive(Debug)]
pub struct Heart {
    it: Arc<Loop>,
    asked: watch::Receiver<u64>,
    asking: Arc<Asking>,
}

impl Pulse {
    /// For a loop that is called so where it does not answer.
    pub fn heart(&self, name: impl Into<String>) -> Heart {
        let asking = Arc::clone(&self.0);
        let asked = asking.asked.subscribe();
        let it = Arc::new(Loop {
            name: name.into(),
            answered: AtomicU64::new(*asked.borrow()),
        });
        let mut loops = asking.loops();
        loops.retain(|it| it.strong_count() > 0);
        loops.push(Arc::downgrade(&it));
        drop(loops);
        Heart { it, asked, asking }
    }

    /// Asks all, and completes once each has answered or ended.
    pub async fn round(&self) {
        self.0.asked.send_modify(|count| *count += 1);
        while !self.silent().is_empty() {
            self.0.changed.notified().await;
        }
    }

    /// Who has not answered the last question.
    pub fn silent(&self) -> Vec<String> {
        let asked = *self.0.asked.borrow();
        let loops = self.0.loops();
        let silent = loops.iter().filter_map(Weak::upgrade);
        silent
            .filter(|it| it.answered.load(Ordering::Relaxed) != asked)
            .map(|it| it.name.clone())
            .collect()
    }
}

impl Asking {
    fn loops(&self) -> MutexGuard<'_, Vec<Weak<Loop>>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heart {
    /// Answers the next question. Dropping this misses none.
    pub async fn beat(&mut self) {
        // The other end lives as long as this one.
        let _ = self.asked.changed().await;
        let asked = *self.asked.borrow_and_update();
        self.it.answered.store(asked, Ordering::Relaxed);
        self.asking.changed.notify_one();
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        let mut loops = self.asking.loops();
        loops.retain(|it| !std::ptr::eq(it.as_ptr(), Arc::as_ptr(&self.it)));
        drop(loops);
        self.asking.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn poll(future: std::pin::Pin<&mut impl Future>) -> bool {
        future
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn a_round_ends_once_everybody_has_answered_or_ended() {
        let pulse = Pulse::default();
        let (mut one, mut other) = (pulse.heart("one"), pulse.heart("other"));
        let mut round = pin!(pulse.round());
        assert!(!poll(round.as_mut()));
        assert!(poll(pin!(one.beat())));
        assert!(!poll(round.as_mut()));
        assert_eq!(pulse.silent(), ["other"]);
        assert!(poll(pin!(other.beat())));
        assert!(poll(round.as_mut()));

        // Each question is answered anew.
        let mut round = pin!(pulse.round());
        assert!(!poll(round.as_mut()));
        assert!(poll(pin!(one.beat())));
        drop(other);
        assert!(poll(round.as_mut()));
        assert!(!poll(pin!(one.beat())));
    }

    #[test]
    fn one_that_comes_late_answers_from_the_next_round_on() {
        let pulse = Pulse::default();
        assert!(poll(pin!(pulse.round())));
        let mut late = pulse.heart("late");
        assert!(pulse.silent().is_empty());
        assert!(!poll(pin!(late.beat())));
        let mut round = pin!(pulse.round());
        assert!(!poll(round.as_mut()));
        assert!(poll(pin!(late.beat())));
        assert!(poll(round.as_mut()));
    }

    #[test]
    fn a_loop_that_answers_late_answers_all_that_it_was_asked() {
        let pulse = Pulse::default();
        let mut slow = pulse.heart("slow");
        for _ in 0..3 {
            assert!(!poll(pin!(pulse.round())));
        }
        assert!(poll(pin!(slow.beat())));
        assert!(pulse.silent().is_empty());
    }
}
