//! The cases of instance metadata that AWS SDKs share, where `CREDD_VECTORS` names the folder that
//! holds them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use credd::clock::SharedClock;
use credd::environment::Environment;
use credd::http::{Client, HttpError, Limits, Roots, Route, Sending, Stage, Transport};
use credd::os::files;
use credd::providers::chain::{self, Chain, Link};
use credd::providers::{Context, Provider, Surroundings, Unprovided, imds};
use hyper::Request;
use serde_json::Value;

use crate::support::clock::TestClock;
use crate::support::fake_aws::{Call, FakeAws, Reply};
use crate::support::news::tell;
use crate::support::patience::run;

#[test]
fn every_shared_endpoint_case_asks_where_it_says() {
    run(async || {
        let Some(document) = cases("imds-config/imds-endpoint-tests.json") else {
            return;
        };
        let cases = document["tests"].as_array().unwrap();
        for case in cases {
            endpoint_case(case).await;
        }
        assert_eq!(cases.len(), 14);
        tell(&format!("{} shared endpoint cases passed", cases.len()));
    });
}

async fn endpoint_case(case: &Value) {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in case["fs"].as_object().unwrap() {
        let text = text.as_str().unwrap();
        files::write_private(&folder.path().join(file), text.as_bytes()).unwrap();
    }
    let environment = case["env"].as_object().unwrap().iter();
    let environment = environment.map(|(name, value)| {
        let value = value.as_str().unwrap();
        // Files of the case are named relative to its folder.
        let value = if name == "AWS_CONFIG_FILE" {
            folder.path().join(value).display().to_string()
        } else {
            value.to_owned()
        };
        (name.clone(), value)
    });
    let config = imds::Config {
        endpoint: text(&case["endpoint_override"]),
        endpoint_mode: text(&case["mode_override"]),
        instance_profile_name: None,
    };
    let asked = Arc::new(Asked::default());
    let transport = Arc::clone(&asked) as Arc<dyn Transport>;
    let mut chain = imds_chain(config, environment.collect(), transport, TestClock::new());
    let Err(Unprovided::Failed(failure)) = chain.provide().await else {
        panic!("{case}");
    };
    let asked = asked.0.lock().unwrap();
    match (text(&case["result"]["Ok"]), text(&case["result"]["Err"])) {
        (Some(url), _) => assert_eq!(*asked, [format!("PUT {url}")], "{case}"),
        (None, Some(problem)) => {
            assert!(asked.is_empty(), "{case}");
            assert!(failure.message.contains(&problem), "{failure}: {case}");
        }
        (None, None) => panic!("{case}"),
    }
}

/// Notes what is asked, and is out of reach.
#[derive(Debug, Default)]
struct Asked(Mutex<Vec<String>>);

impl Transport for Asked {
    fn send(&self, request: Request<Bytes>, _: Limits, _: Route) -> Sending<'_> {
        let asked = format!("{} {}", request.method(), request.uri());
        self.0.lock().unwrap().push(asked.clone());
        let stage = Stage::Deadline("answer");
        Box::pin(std::future::ready(Err(HttpError { asked, stage })))
    }
}

#[test]
fn every_shared_account_id_case_asks_in_the_order_it_says() {
    run(async || {
        let Some(cases) = cases("go-v2-imds-sep/imds-account-id-sep-tests.json") else {
            return;
        };
        let cases = cases.as_array().unwrap();
        for case in cases {
            account_id_case(case).await;
        }
        assert_eq!(cases.len(), 13);
        tell(&format!("{} shared account id cases passed", cases.len()));
    });
}

async fn account_id_case(case: &Value) {
    let clock = TestClock::new();
    let aws = FakeAws::start(&clock).await;
    let expectations = case["expectations"].as_array().unwrap();
    for expectation in expectations {
        let path = expectation["get"].as_str().unwrap();
        let call = match path.rsplit('/').next() {
            Some("security-credentials-extended" | "security-credentials") => Call::List,
            _ => Call::Role,
        };
        let status = expectation["response"]["status"].as_u64().unwrap();
        let body = &expectation["response"]["body"];
        let body = text(body).unwrap_or_else(|| body.to_string());
        aws.next(call, move |_| {
            Reply::status(u16::try_from(status).unwrap()).saying(body.clone())
        });
    }
    let config = imds::Config {
        endpoint: Some(aws.url()),
        instance_profile_name: text(&case["config"]["ec2InstanceProfileName"]),
        ..imds::Config::default()
    };
    let environment = case["config"]["envVars"].as_object().into_iter().flatten();
    let environment = environment.map(|(name, value)| (name.clone(), text(value).unwrap()));
    let shared = Arc::clone(&clock) as SharedClock;
    let transport = Arc::new(Client::new(shared, [], Roots::System));
    let mut chain = imds_chain(config, environment.collect(), transport, clock);
    for outcome in case["outcomes"].as_array().unwrap() {
        match (
            text(&outcome["result"]).unwrap().as_str(),
            chain.provide().await,
        ) {
            ("credentials", Ok(provided)) => {
                let account_id = provided.credentials.account_id;
                assert_eq!(account_id, text(&outcome["accountId"]), "{case}");
            }
            ("no credentials", Err(Unprovided::Failed(failure))) => {
                let problem = "no source of credentials is configured";
                assert!(failure.message.contains(problem), "{failure}: {case}");
            }
            ("invalid profile", Err(Unprovided::Failed(failure))) => {
                assert!(
                    failure.message.contains("invalid profile"),
                    "{failure}: {case}"
                );
            }
            (expected, outcome) => panic!("{expected} expected, {outcome:?}: {case}"),
        }
    }
    let expected = expectations
        .iter()
        .map(|expectation| format!("GET {}", text(&expectation["get"]).unwrap()));
    // A version 2 client asks for its token before everything else.
    let token = (!expectations.is_empty()).then(|| "PUT /latest/api/token".to_owned());
    let expected: Vec<String> = token.into_iter().chain(expected).collect();
    assert_eq!(aws.asked(), expected, "{case}");
    assert_eq!(aws.tokenless(), 0);
}

fn imds_chain(
    config: imds::Config,
    environment: Environment,
    transport: Arc<dyn Transport>,
    clock: Arc<TestClock>,
) -> Chain {
    let context = Context::alone(Surroundings::new(Arc::new(environment), transport, clock));
    chain::build(&[Link::InstanceMetadata(config)], &context)
}

fn cases(file: &str) -> Option<Value> {
    /// Ten times the larger of the two files, so that a wrong path is noticed.
    const LARGEST: usize = 256 * 1024;
    let environment = Environment::of_process();
    let Some(folder) = environment.variable("CREDD_VECTORS").map(PathBuf::from) else {
        tell("skipped: CREDD_VECTORS does not name a folder of test vectors");
        return None;
    };
    let text = files::read_text_now(&folder.join(file), LARGEST).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
