//! A test that hangs fails: the only place where tests look at real time.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Many times what the slowest test needs on an idle machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs `test` on a thread and a runtime of its own, and fails it when patience ends.
pub(crate) fn run(test: impl AsyncFnOnce() + Send + 'static) {
    let (finished, finish) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
        // Nothing of a test that has passed may go on, not even a read that hangs.
        runtime.shutdown_background();
        finished.send(()).unwrap();
    });
    match finish.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout) => panic!("the test hangs"),
        Ok(()) | Err(RecvTimeoutError::Disconnected) => {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// Lets everything else go on until `condition` holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

/// Lets everything that can go on without time and without others do so.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
