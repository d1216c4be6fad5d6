//! Whether credd is at work, and whether its identities are ready: for supervisors and load
//! balancers, and for `credd health`.

use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, SystemClock};

use super::{asked, text};
use crate::serving::clock::HandClock;
use crate::serving::daemon::InProcess;
use crate::serving::eventually;
use crate::serving::program::Place;
use crate::serving::upstream::{self, Upstream};

const HOURS: Duration = Duration::from_hours(6);

#[test]
fn readiness_is_that_of_every_identity_or_of_one() {
    let clock = Arc::new(HandClock::new());
    let good = Upstream::answering(upstream::credentials(clock.now().plus(HOURS)));
    let slow = Upstream::hanging();
    let identities = [("billing", good.uri("/a")), ("ops", slow.uri("/b"))];
    let daemon = InProcess::start(Arc::clone(&clock) as _, &identities);
    let ask = |path: &str| {
        let reply = asked(&mut daemon.admin(), path);
        (reply.status, text(reply))
    };
    eventually("one is ready", || {
        (ask("/readyz/billing").0 == 200).then_some(())
    });
    assert_eq!(ask("/livez"), (200, "ok\n".to_owned()));
    let list = "[+]billing is fresh\n[-]ops is warming\nreadyz check failed\n";
    assert_eq!(ask("/readyz"), (503, list.to_owned()));
    let one = "[-]ops is warming\nreadyz check failed\n";
    assert_eq!(ask("/readyz/ops"), (503, one.to_owned()));
    assert_eq!(ask("/readyz/none").0, 404);
    assert_eq!(ask("/readyzz").0, 404);
    assert_eq!(ask("/readyz?exclude=ops"), (200, "ok\n".to_owned()));
    let list = "[+]billing is fresh\nreadyz check passed\n";
    assert_eq!(ask("/readyz?verbose&exclude=ops"), (200, list.to_owned()));

    slow.answer(upstream::credentials(clock.now().plus(HOURS)));
    eventually("both are ready", || (ask("/readyz").0 == 200).then_some(()));
    let list = "[+]billing is fresh\n[+]ops is fresh\nreadyz check passed\n";
    assert_eq!(ask("/readyz?verbose"), (200, list.to_owned()));
}

#[test]
fn the_command_tells_of_all_or_of_one_by_its_exit_code() {
    let expiry = SystemClock::new().now().plus(HOURS);
    let good = Upstream::answering(upstream::credentials(expiry));
    let slow = Upstream::hanging();
    let place = Place::new(&[("billing", good.uri("/a")), ("ops", slow.uri("/b"))]);
    let _daemon = place.serve();
    eventually("one is ready", || {
        place.run(&["health", "billing"]).is_success().then_some(())
    });
    let said = place.run(&["health", "billing"]).data();
    assert_eq!(said, "healthy: billing has credentials\n");
    for words in [&["health"][..], &["health", "ops"]] {
        let said = place.run(words);
        let outcome = (said.code(), said.stdout.as_str());
        assert_eq!(outcome, (Some(1), "unhealthy: ops is warming\n"));
    }
    let said = place.run(&["health", "none"]);
    assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
    assert!(
        said.stderr.contains("keeps no identity of this name"),
        "{}",
        said.stderr
    );
}
