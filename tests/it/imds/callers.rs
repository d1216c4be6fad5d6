//! Who gets what: rules, asked at each request. A session token is no proof of anything.

use super::*;
use crate::callers::{ALICE, BOB, as_user, is_root};

#[test]
fn without_a_rule_for_tcp_without_a_token_nobody_gets_even_a_session_token() {
    for rules in [
        Vec::new(),
        // A rule that wants the kernel's word or a token does not open a plain TCP port.
        vec![opening(
            Conditions {
                listener: Some(ListenerName::imds()),
                ..Conditions::default()
            },
            &["default"],
        )],
        vec![opening(
            Conditions {
                token: Some(name("worker")),
                ..Conditions::default()
            },
            &["default"],
        )],
        // Nor does one for another door.
        vec![opening(
            Conditions {
                listener: Some(ListenerName::http()),
                tcp_without_token: true,
                ..Conditions::default()
            },
            &["default"],
        )],
    ] {
        let instance = Instance::told(&Told {
            rules,
            ..Told::default()
        });
        let reply = instance.put(&ttl("60"));
        assert_eq!(reply.status, 403);
        assert_eq!(reply.header("connection"), Some("close"));
        assert!(text(&reply).contains("without-token"), "{}", text(&reply));
        // The token of the other endpoint helps nobody here.
        let authorization = format!("Authorization: {}\r\n", instance.daemon.token);
        let reply = instance.put(&format!("{authorization}{}", ttl("60")));
        assert_eq!(reply.status, 403);
    }
}

#[test]
fn a_rule_for_this_door_opens_no_other() {
    let instance = Instance::new();
    let host = instance.daemon.address;
    let request = format!("GET /v1/credentials/default HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let reply = exchange(&mut instance.daemon.tcp(), request).unwrap();
    assert_eq!(reply.status, 403);
}

#[test]
fn only_what_a_rule_opens_is_there() {
    let instance = Instance::told(&Told {
        identities: &["default", "billing", "dev"],
        rules: vec![rule(&["dev"])],
        ..Told::default()
    });
    assert_eq!(text(&instance.get(ROLE)), "dev");
    assert_eq!(instance.get(&format!("{ROLE}dev")).status, 200);
    // What exists and is another's looks like what does not exist.
    let [others, nobodys] = ["billing", "nothing"].map(|it| instance.get(&format!("{ROLE}{it}")));
    assert_eq!((others.status, nobodys.status), (404, 404));
    assert_eq!(others.body, nobodys.body);
}

#[test]
fn the_config_says_which_of_several_is_meant() {
    let all = ["billing", "dev"];
    let told = Told {
        identities: &all,
        rules: vec![rule(&all)],
        ..Told::default()
    };
    // Several and none meant: as an instance without a role.
    let instance = Instance::told(&told);
    assert_eq!(instance.get(ROLE).status, 404);
    assert_eq!(instance.get("/latest/meta-data/iam/info").status, 404);
    let document = instance.get(DOCUMENT).json();
    assert!(document.get("accountId").is_none(), "{document}");
    // One that is asked for by its name is there all the same.
    assert_eq!(instance.get(&format!("{ROLE}billing")).status, 200);

    let instance = Instance::told(&Told {
        identity: Some("dev"),
        ..told
    });
    assert_eq!(text(&instance.get(ROLE)), "dev");
}

#[test]
fn an_identity_of_the_config_that_no_rule_opens_is_no_role() {
    let instance = Instance::told(&Told {
        identities: &["billing", "dev"],
        rules: vec![rule(&["billing"])],
        identity: Some("dev"),
        ..Told::default()
    });
    assert_eq!(instance.get(ROLE).status, 404);
}

#[test]
fn a_narrowed_identity_goes_by_the_name_that_it_is_asked_for() {
    let mut narrowed = rule(&[]);
    narrowed.opens = Opens::Only(vec![Opening {
        identity: name("dev"),
        served: name("dev-narrowed"),
    }]);
    let instance = Instance::told(&Told {
        identities: &["dev", "dev-narrowed"],
        rules: vec![narrowed],
        ..Told::default()
    });
    assert_eq!(text(&instance.get(ROLE)), "dev");
    assert_eq!(instance.get(&format!("{ROLE}dev")).status, 200);
    assert_eq!(instance.get(&format!("{ROLE}dev-narrowed")).status, 404);
}

#[test]
fn the_audit_log_has_a_line_for_each_hand_out_and_each_denial_and_none_for_the_way_there() {
    let instance = Instance::new();
    let token = shown(&instance.token());
    let user_agent = "User-Agent: Boto3/1.42\r\n";
    let headers = format!("{token}{user_agent}");
    for path in [ROLE, REGION, DOCUMENT, "/latest/meta-data/iam/info"] {
        assert_eq!(instance.ask("GET", path, &headers).status, 200);
    }
    let path = format!("{ROLE}default");
    assert_eq!(instance.ask("GET", &path, &headers).status, 200);
    let denied = [
        (401, instance.ask("GET", &path, user_agent)),
        (
            403,
            instance.ask("GET", &path, &format!("{headers}Via: 1.1 x\r\n")),
        ),
        (404, instance.ask("GET", &format!("{ROLE}other"), &headers)),
    ];
    for (status, reply) in denied {
        assert_eq!(reply.status, status);
    }
    let lines = instance.daemon.audit_log();
    let said: Vec<_> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["listener"], "imds");
            (line["decision"].as_str().unwrap(), &line["identity"])
        })
        .collect();
    let (default, nothing) = (serde_json::json!("default"), serde_json::Value::Null);
    assert_eq!(
        said,
        [
            ("granted", &default),
            ("denied", &nothing),
            ("denied", &nothing),
            ("denied", &nothing),
        ],
        "{lines:#?}"
    );
    assert_eq!(lines[0]["rule"], "allow[1]");
    assert_eq!(lines[0]["user_agent"], "Boto3/1.42");
}

/// The kernel says whose each connection is, and so whose its token is.
#[test]
fn a_session_token_of_one_user_is_of_no_use_to_another() {
    if !is_root() {
        return;
    }
    let of = |user, identity| {
        let caller = Conditions {
            user: Some(user),
            ..rule(&[]).caller
        };
        opening(caller, &[identity])
    };
    let instance = Instance::told(&Told {
        identities: &["alice", "bob"],
        rules: vec![of(ALICE, "alice"), of(BOB, "bob")],
        ..Told::default()
    });
    let users = [(ALICE, "alice"), (BOB, "bob")];
    let tokens = users.map(|(user, own)| {
        let (put, role) = std::thread::scope(|scope| {
            let asking = as_user(scope, user, &[], || {
                let put = instance.put(&ttl("60"));
                let role = instance.ask("GET", ROLE, &shown(text(&put)));
                (put, role)
            });
            asking.join().unwrap()
        });
        assert_eq!(text(&role), own);
        let token = text(&put).to_owned();
        sinks::secret(&token);
        token
    });
    for (user, own) in users {
        let other = if own == "alice" { "bob" } else { "alice" };
        let paths = ["", own, other].map(|name| format!("{ROLE}{name}"));
        for (token, (whose, _)) in tokens.iter().zip(users) {
            let headers = shown(token);
            let ask = |path: &String| instance.ask("GET", path, &headers).status;
            let statuses = std::thread::scope(|scope| {
                let asking = as_user(scope, user, &[], || paths.each_ref().map(ask));
                asking.join().unwrap()
            });
            let expected = if user == whose {
                [200, 200, 404]
            } else {
                [401; 3]
            };
            assert_eq!(statuses, expected, "{user} with the token of {whose}");
        }
    }
    // Root has everything on the Unix socket, and nothing here without a rule.
    assert_eq!(instance.put(&ttl("60")).status, 403);
    for token in tokens {
        assert_eq!(instance.ask("GET", ROLE, &shown(&token)).status, 401);
    }
}
