//! credd in the place of EC2's instance metadata, the ECS agent and the EKS Pod Identity agent, at
//! their own addresses, for SDKs that are told no more than there.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use credd::authz::{Conditions, ListenerName, Opening, Opens, Rule, RuleName};
use credd::aws::region::Region;
use credd::clock::SystemClock;
use credd::daemon::runtime_directory;
use credd::environment::Environment;
use credd::identity::IdentityName;
use credd::providers::chain::Link;
use credd::providers::imds;
use credd::serve::ImdsConfig;

use super::client::{Client, Door, Sdk, Way};
use super::daemon::{Daemon, Told};
use super::relay::{self, Seen};
use super::upstream::Upstream;
use super::{
    LIFETIME, Outcome, expect, fetch_until_after, next_status, number, short_lived, tell, tools,
};
use crate::serving::daemon::{self, InProcess};
use crate::serving::network::Network;

const REGION: &str = "eu-west-1";

/// Who asks, and how.
type Case = (Sdk, Way);

const ON_EC2: [Case; 5] = [
    (Sdk::Boto3, Way::Metadata),
    (Sdk::Cli, Way::Metadata),
    (Sdk::JavaScript, Way::Metadata),
    (Sdk::Rust, Way::Metadata),
    (Sdk::Go, Way::Metadata),
];

const ON_ECS: [Case; 4] = [
    (Sdk::Boto3, Way::RelativeUri),
    (Sdk::Cli, Way::RelativeUri),
    (Sdk::JavaScript, Way::RelativeUri),
    (Sdk::Rust, Way::RelativeUri),
];

const ON_EKS: [Case; 4] = [
    (Sdk::Boto3, Way::PodIdentity),
    (Sdk::Cli, Way::PodIdentity),
    (Sdk::JavaScript, Way::PodIdentity),
    (Sdk::Rust, Way::PodIdentity),
];

#[test]
fn every_sdk_fetches_from_instance_metadata_and_has_the_next_set_and_the_region() {
    let config = format!(
        "[serve.imds]\nlisten = [\"169.254.169.254:80\", \"[fd00:ec2::254]:80\"]\n\
         region = \"{REGION}\"\n{}",
        opening("imds")
    );
    in_the_place(&["169.254.169.254", "fd00:ec2::254"], &ON_EC2, || Told {
        config: config.clone(),
        ..Told::default()
    });
}

#[test]
fn every_sdk_fetches_from_the_place_of_the_ecs_agent() {
    in_the_place(&["169.254.170.2"], &ON_ECS, || Told {
        config: opening("http"),
        listen: vec![at("169.254.170.2")],
        ..Told::default()
    });
}

#[test]
fn every_sdk_fetches_from_the_place_of_the_eks_pod_identity_agent() {
    let addresses = ["169.254.170.23", "fd00:ec2::23"];
    // By its token, which no rule of the config has to open.
    in_the_place(&addresses, &ON_EKS, || Told {
        listen: addresses.map(at).to_vec(),
        ..Told::default()
    });
}

/// Those that try again: botocore and JavaScript ask instance metadata once.
#[test]
fn sdks_of_instance_metadata_outlast_the_503_of_a_daemon_that_warms_up() {
    let Some(tools) = tools() else { return };
    for sdk in [Sdk::Rust, Sdk::Go] {
        if !is_there(sdk, &tools) {
            continue;
        }
        let upstream = short_lived().unwrap().closed();
        let credd = on_loopback(Link::InstanceMetadata(imds::Config {
            endpoint: Some(format!("http://{}", upstream.address)),
            ..imds::Config::default()
        }));
        let outcome = outlast(sdk, &tools, &upstream, &credd);
        outcome.unwrap_or_else(|error| panic!("{sdk:?}: {error}"));
    }
}

fn outlast(sdk: Sdk, tools: &Path, upstream: &Upstream, credd: &InProcess) -> Outcome {
    let (address, seen) = relay::tcp(credd.imds[0])?;
    let way = Way::MetadataAt(address);
    let mut client = Client::start(sdk, way, tools, &door(credd), upstream.address)?;
    client.begin_fetch()?;
    while next_status(&seen)? != Seen::Status(503) {}
    upstream.open();
    number(&client.end_fetch()?).map(drop)
}

/// Go and Rust show what credd says; to the others there are just no credentials.
#[test]
fn sdks_of_instance_metadata_fail_soon_where_a_person_has_to_act() {
    let Some(tools) = tools() else { return };
    let upstream = short_lived().unwrap();
    let credd = on_loopback(Link::Environment); // in which there is nothing
    for (sdk, _) in ON_EC2 {
        if !is_there(sdk, &tools) {
            continue;
        }
        let (address, seen) = relay::tcp(credd.imds[0]).unwrap();
        let way = Way::MetadataAt(address);
        let client = Client::start(sdk, way, &tools, &door(&credd), upstream.address);
        let error = client.unwrap().fetch().unwrap_err().to_string();
        if [Sdk::Rust, Sdk::Go].contains(&sdk) {
            assert!(error.contains("ConfigurationError"), "{sdk:?}: {error}");
            assert!(error.contains("credd status"), "{sdk:?}: {error}");
        }
        // Token, role and credentials, and the region where one is looked for: none twice.
        let asked = seen.try_iter().filter(|seen| *seen != Seen::Connection);
        let asked: Vec<_> = asked.collect();
        assert!(asked.len() <= 8, "{sdk:?}: {asked:?}");
    }
}

/// Every client at the same addresses, each with an upstream and a daemon of its own.
fn in_the_place(addresses: &[&str], cases: &[Case], tell_credd: impl Fn() -> Told + Sync) {
    let Some(tools) = tools() else { return };
    let (mut failures, mut passed) = (String::new(), 0);
    for &(sdk, way) in cases {
        if !is_there(sdk, &tools) {
            continue;
        }
        let Some(network) = Network::with(addresses) else {
            return;
        };
        let outcome = network.run(|| {
            let upstream = Upstream::with_sets_that_live(LIFETIME).map_err(|it| it.to_string())?;
            let endpoint = format!("http://{}", upstream.address);
            let told = Told {
                variables: vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)],
                ..tell_credd()
            };
            let daemon = Daemon::start_with(told).map_err(|it| it.to_string())?;
            let outcome = fetch_and_refresh(sdk, way, &tools, &upstream, &daemon);
            outcome.map_err(|error| daemon.with_log(&error.to_string()).to_string())
        });
        match outcome {
            Ok(()) => passed += 1,
            Err(error) => _ = writeln!(failures, "{sdk:?} by {way:?}: {error}"),
        }
    }
    assert!(failures.is_empty(), "{failures}");
    tell(&format!("{passed} clients passed"));
}

fn fetch_and_refresh(
    sdk: Sdk,
    way: Way,
    tools: &Path,
    upstream: &Upstream,
    daemon: &Daemon,
) -> Outcome {
    let mut client = Client::start(sdk, way, tools, &daemon.door()?, upstream.address)?;
    let answer = client.fetch()?;
    let first = number(&answer)?;
    if way == Way::Metadata && [Sdk::Rust, Sdk::Go].contains(&sdk) {
        let region = answer.split_whitespace().nth(1);
        expect(&region, &Some(REGION))?;
    }
    fetch_until_after(first, &mut client)
}

fn is_there(sdk: Sdk, tools: &Path) -> bool {
    let is_there = sdk.is_there(tools);
    if !is_there {
        tell(&format!(
            "skipped: tests/prepare made no client for {sdk:?}"
        ));
    }
    is_there
}

fn at(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 80)
}

/// The rule for whoever comes by that listener.
fn opening(listener: &str) -> String {
    format!(
        "[[allow]]\ncaller = {{ listener = \"{listener}\", tcp = \"without-token\" }}\n\
         identity = [\"default\"]\n"
    )
}

/// A daemon on any port of loopback, in the place of instance metadata.
fn on_loopback(link: Link) -> InProcess {
    let identities = [(IdentityName::default(), vec![link])];
    let mut config = daemon::config(identities.into(), "127.0.0.1:0");
    config.serve.imds = Some(ImdsConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        identity: None,
        region: Region::parse(REGION).ok(),
    });
    config.allow = vec![Rule {
        name: RuleName::of_config(1),
        caller: Conditions {
            listener: Some(ListenerName::imds()),
            tcp_without_token: true,
            ..Conditions::default()
        },
        opens: Opens::Only(vec![Opening::of(IdentityName::default())]),
    }];
    InProcess::with(Arc::new(SystemClock::new()), config, Environment::default())
}

fn door(credd: &InProcess) -> Door {
    Door {
        address: credd.address,
        token_file: runtime_directory::token_file(credd.directory()),
        token: credd.token.clone(),
        runtime_directory: credd.directory().to_owned(),
        identity: "default",
    }
}
