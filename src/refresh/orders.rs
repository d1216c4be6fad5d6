//! What others may have a refresher do, each wish counted so that none is lost while it is busy.

use tokio::sync::watch;

/// One wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Somebody waits: a first attempt that was put off is made now.
    Demand,
    /// Others are held back until there is a first set: the same, but what was forgotten stays so.
    Begin,
    /// Make an attempt now.
    Refresh,
    /// Make an attempt soon: the set in hand is no good any more.
    Replace,
    /// Drop the set in hand.
    Forget,
}

/// In the order in which they are obeyed.
const ALL: [Order; 5] = [
    Order::Forget,
    Order::Refresh,
    Order::Replace,
    Order::Demand,
    Order::Begin,
];

/// How often each was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Given([u64; ALL.len()]);

impl Given {
    pub(super) fn add(&mut self, order: Order) {
        for (count, it) in self.0.iter_mut().zip(ALL) {
            *count += u64::from(it == order);
        }
    }
}

/// The refresher's end.
#[derive(Debug)]
pub(super) struct Orders {
    given: watch::Receiver<Given>,
    obeyed: Given,
}

impl Orders {
    pub(super) fn new(given: watch::Receiver<Given>) -> Self {
        Self {
            given,
            obeyed: Given::default(),
        }
    }

    /// The next order: once, however often it was given since the last. Dropping this loses none.
    pub(super) async fn next(&mut self) -> Order {
        loop {
            let given = *self.given.borrow_and_update();
            let counts = given.0.into_iter().zip(&mut self.obeyed.0).zip(ALL);
            for ((given, obeyed), order) in counts {
                if given != *obeyed {
                    *obeyed = given;
                    return order;
                }
            }
            if self.given.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
