//! One role, narrowed by rules for each of its callers.

use credd::authz::{Bearer, Lease, TokenName, new_token};
use credd::config::{self, Config};
use credd::os::users::HostAccounts;
use credd::secret::Secret;

use super::handing_out::Served;
use super::*;
use crate::support::fake_aws::Session;

fn config(ground: &Ground) -> Config {
    let secret = ground.write("ops-secret", OPS_SECRET);
    ground.write("worker.json", "{\"Statement\": [\"worker\"]}");
    let text = format!(
        r#"
[identity.ops]
provider = "keys"
access-key-id = "{OPS_KEY}"
secret-access-key = "file:{}"

[identity.deploy]
provider = "assume-role"
from = "ops"
role-arn = "{DEPLOY}"
tags = {{ team = "finance" }}

[[allow]]
caller = {{ token = "worker" }}
identity = ["deploy"]
session-name = "{{identity}}-{{caller}}"
session-policy = "worker.json"
tags = {{ job = "worker" }}
transitive-tags = ["job"]

[[allow]]
caller = {{ token = "report" }}
identity = ["deploy"]
policy-arns = ["arn:aws:iam::aws:policy/ReadOnlyAccess"]
source-identity = "{{caller}}"
"#,
        secret.display()
    );
    let path = ground.folder.path().join("credd.toml");
    config::parse(&path, &text, &HostAccounts).unwrap()
}

/// A daemon, with tokens that are as good as those of its files.
struct Narrowed {
    served: Served,
    tokens: BTreeMap<&'static str, (Secret, Lease)>,
}

impl Narrowed {
    async fn start() -> Self {
        let ground = Ground::new().await;
        let config = config(&ground);
        let served = Served::of_config(ground, config).await;
        let lease = |name| {
            let bearer = Bearer::Token(TokenName::parse(name).unwrap());
            let token = new_token();
            let lease = served.site.tokens.lease(&token, bearer);
            (name, (token, lease))
        };
        let tokens = ["default", "worker", "report"].map(lease);
        Self {
            tokens: tokens.into(),
            served,
        }
    }

    /// The access key id that `caller` gets.
    async fn key(&self, caller: &str, identity: &str) -> String {
        let token = self.tokens[caller].0.expose();
        let answer = self.served.asking_with(token, identity).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        body["AccessKeyId"].as_str().unwrap_or(&answer).to_owned()
    }

    fn calls(&self) -> Vec<Seen> {
        let mut seen = self.served.ground.aws.seen();
        seen.retain(|seen| seen.parameter("RoleArn") == Some(DEPLOY));
        seen
    }

    /// The call that a session was the answer to, by a parameter that it alone has.
    fn call(&self, parameter: &str) -> Seen {
        let mut calls = self.calls();
        calls.retain(|call| call.parameter(parameter).is_some());
        assert_eq!(calls.len(), 1, "{parameter}");
        calls.remove(0)
    }
}

#[test]
fn each_caller_gets_the_role_as_its_rule_narrows_it_and_each_session_is_cached_apart() {
    run(async || {
        let narrowed = Narrowed::start().await;
        let mut keys = BTreeMap::new();
        for caller in ["worker", "report", "default"] {
            keys.insert(caller, narrowed.key(caller, "deploy").await);
        }
        assert!(
            keys.values().all(|key| key.starts_with("ASIAFAKESTS")),
            "{keys:?}"
        );
        let all: std::collections::BTreeSet<_> = keys.values().collect();
        assert_eq!(all.len(), 3, "{keys:?}");
        for caller in ["default", "report", "worker"] {
            assert_eq!(narrowed.key(caller, "deploy").await, keys[caller]);
        }
        // A caller with one identity need not name it.
        assert_eq!(narrowed.key("report", "").await, keys["report"]);

        assert_eq!(narrowed.calls().len(), 3);
        let worker = narrowed.call("Policy");
        for (parameter, value) in [
            ("Policy", "{\"Statement\": [\"worker\"]}"),
            ("RoleSessionName", "deploy-worker"),
            ("Tags.member.1.Key", "job"),
            ("Tags.member.1.Value", "worker"),
            ("Tags.member.2.Key", "team"),
            ("Tags.member.2.Value", "finance"),
            ("TransitiveTagKeys.member.1", "job"),
        ] {
            assert_eq!(worker.parameter(parameter), Some(value), "{parameter}");
        }
        assert_eq!(worker.parameter("SourceIdentity"), None);
        let report = narrowed.call("SourceIdentity");
        for (parameter, value) in [
            ("SourceIdentity", "report"),
            (
                "PolicyArns.member.1.arn",
                "arn:aws:iam::aws:policy/ReadOnlyAccess",
            ),
            ("RoleSessionName", "credd-deploy"),
            ("Tags.member.1.Key", "team"),
        ] {
            assert_eq!(report.parameter(parameter), Some(value), "{parameter}");
        }
        assert_eq!(report.parameter("Tags.member.2.Key"), None);
        let sessions = narrowed.served.ground.aws.sessions();
        assert_eq!(sessions.len(), 3);
        let of_worker = |it: &&Session| it.arn.ends_with("/deploy-worker");
        let of_worker: Vec<_> = sessions.iter().filter(of_worker).collect();
        assert_eq!(of_worker.len(), 1);
        assert_eq!(of_worker[0].key, keys["worker"]);
    });
}

#[test]
fn nobody_can_name_a_narrowed_identity() {
    run(async || {
        let narrowed = Narrowed::start().await;
        for (caller, name) in [
            ("worker", "deploy@worker"),
            ("worker", "deploy@report"),
            ("default", "deploy@worker"),
            ("default", "deploy%40worker"),
        ] {
            let token = narrowed.tokens[caller].0.expose();
            let answer = narrowed.served.asking_with(token, name).await;
            assert!(!answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
            assert!(!answer.contains("ASIA"), "{name}: {answer}");
        }
        let other = narrowed.served.asking_with("x", "deploy").await;
        assert!(other.starts_with("HTTP/1.1 403"), "{other}");
    });
}

#[test]
fn an_identity_is_refreshed_and_forgotten_with_all_its_narrowings() {
    run(async || {
        let narrowed = Narrowed::start().await;
        let mut keys = BTreeMap::new();
        for caller in ["worker", "report", "default"] {
            keys.insert(caller, narrowed.key(caller, "deploy").await);
        }
        let order = "{\"identity\": \"deploy\"}";
        let refreshed = narrowed.served.administer("POST /v1/refresh", order).await;
        for name in ["\"deploy\"", "\"deploy@worker\"", "\"deploy@report\""] {
            assert!(refreshed.contains(name), "{refreshed}");
        }
        assert!(!refreshed.contains("\"ops\""), "{refreshed}");
        assert_eq!(narrowed.calls().len(), 6);
        for (caller, before) in &keys {
            assert_ne!(narrowed.key(caller, "deploy").await, *before, "{caller}");
        }
        narrowed.served.administer("POST /v1/forget", order).await;
        for caller in keys.keys() {
            narrowed.key(caller, "deploy").await;
        }
        assert_eq!(narrowed.calls().len(), 9);
        let explained = narrowed.served.administer("POST /v1/explain", order).await;
        assert!(explained.contains("\"deploy@worker\""), "{explained}");
        let status = narrowed.served.status().await;
        assert!(status.contains("\"deploy@worker\""), "{status}");
        for text in [&status, &explained, &narrowed.served.journal.text()] {
            assert!(
                !text.contains(OPS_SECRET) && !text.contains(CANARY),
                "{text}"
            );
        }
    });
}
