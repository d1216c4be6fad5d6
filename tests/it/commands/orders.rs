//! refresh and forget: what a daemon is told to do with its identities.

use serde_json::Value;

use super::place;
use crate::serving::program::Place;
use crate::serving::upstream::{Answer, KEY, Upstream};

#[test]
fn refresh_makes_an_attempt_now_and_says_what_came_of_it() {
    let (place, upstream) = place();
    let _daemon = place.serve();
    place.warm();
    let calls = upstream.calls();
    let table = place.run(&["refresh"]).data();
    assert!(table.starts_with("IDENTITY"), "{table}");
    assert!(
        table.contains("default") && table.contains("fresh"),
        "{table}"
    );
    assert_eq!(upstream.calls(), calls + 1);
    let report = place.run(&["refresh", "default", "--json"]).json();
    assert_eq!(report["identities"][0]["state"], "fresh");
    assert_eq!(report["identities"][0]["failure"], Value::Null);
    assert_eq!(upstream.calls(), calls + 2);

    // What is in hand goes on being served when AWS says no.
    upstream.answer(Answer {
        status: 403,
        body: String::new(),
    });
    let said = place.run(&["refresh", "--json"]);
    assert_eq!(said.code(), Some(1), "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["identities"][0]["failure"]["class"], "denied");
    assert_eq!(report["identities"][0]["is-served"], true);
    assert!(place.run(&["get"]).data().contains(KEY));
}

#[test]
fn forget_drops_what_is_held_until_somebody_asks() {
    let (place, upstream) = place();
    let _daemon = place.serve();
    place.warm();
    let calls = upstream.calls();
    let report = place.run(&["forget", "default", "--json"]).json();
    let identity = &report["identities"][0];
    assert_eq!(identity["state"], "warming");
    assert_eq!(identity["key"], Value::Null);
    assert_eq!(upstream.calls(), calls);
    assert!(place.run(&["get"]).data().contains(KEY));
    assert_eq!(upstream.calls(), calls + 1);
}

#[test]
fn orders_touch_the_identity_that_they_name_and_no_other() {
    let (one, two) = (super::upstream(), super::upstream());
    let place = Place::new(&[("one", one.uri("/")), ("two", two.uri("/"))]);
    let _daemon = place.serve();
    let both: [&Upstream; 2] = [&one, &two];
    crate::serving::eventually("both are fetched", || {
        both.iter()
            .all(|upstream| upstream.calls() == 1)
            .then_some(())
    });
    let report = place.run(&["refresh", "two", "--json"]).json();
    assert_eq!(report["identities"].as_array().unwrap().len(), 1);
    assert_eq!((one.calls(), two.calls()), (1, 2));
    place.run(&["forget", "one"]).data();
    let report = place.run(&["status", "--json"]).json();
    assert_eq!(report["identities"][0]["state"], "warming");
    assert_eq!(report["identities"][1]["state"], "fresh");
}

#[test]
fn orders_to_nobody_fail_in_words() {
    let (place, _upstream) = place();
    for command in ["refresh", "forget"] {
        let said = place.run(&[command, "default"]);
        assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.contains("credd serve"), "{said:?}");
    }
    let _daemon = place.serve();
    for command in ["refresh", "forget"] {
        let said = place.run(&[command, "billing"]);
        assert_eq!((said.code(), said.stdout.as_str()), (Some(1), ""));
        assert!(said.stderr.contains("no identity of this name"), "{said:?}");
        let said = place.run(&[command, "../etc"]);
        assert_eq!(said.code(), Some(2), "{said:?}");
    }
    // Nothing is forgotten by accident.
    assert_eq!(place.run(&["forget"]).code(), Some(2));
}
