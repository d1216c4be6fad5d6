//! The addresses of EC2, ECS and EKS themselves, in networks of the tests' own.

use std::net::SocketAddr;

use credd::audit::Outlets;
use credd::providers::chain::Link;
use credd::providers::imds;

use super::*;
use crate::serving::eventually;
use crate::serving::network::Network;

const ADDRESSES: [&str; 5] = [
    "169.254.169.254",
    "fd00:ec2::254",
    "169.254.170.2",
    "169.254.170.23",
    "fd00:ec2::23",
];

fn at(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 80)
}

/// A daemon in the place of all three, with its identity from `upstream`.
fn stand_in(upstream: &Upstream, clock: &Arc<HandClock>) -> InProcess {
    let mut rules = vec![rule(&["default"])];
    rules[0].caller.listener = None;
    let told = Told {
        rules,
        ..Told::default()
    };
    let mut config = config(&told, upstream);
    let [v4, v6, ecs, eks, eks_v6] = ADDRESSES.map(at);
    config.serve.http = vec![ecs, eks, eks_v6];
    if let Some(imds) = &mut config.serve.imds {
        imds.listen = vec![v4, v6];
    }
    let clock = Arc::clone(clock) as _;
    InProcess::with(clock, config, Environment::default()).warm()
}

fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Reply {
    let host = match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    };
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
    exchange(&mut stream, request).unwrap()
}

#[test]
fn the_real_addresses_answer_to_programs_of_this_host() {
    let Some(network) = Network::with(&ADDRESSES) else {
        return;
    };
    network.run(|| {
        let clock = Arc::new(HandClock::new());
        let expiry = clock.now().plus(LIFETIME);
        let upstream = Upstream::answering(upstream::credentials(expiry));
        let daemon = stand_in(&upstream, &clock);
        for address in ["169.254.169.254", "fd00:ec2::254"].map(at) {
            let token = ask(address, "PUT", TOKEN, &ttl("60")).body;
            let token = shown(std::str::from_utf8(&token).unwrap());
            let reply = ask(address, "GET", &format!("{ROLE}default"), &token);
            assert_eq!(reply.json()["AccessKeyId"], upstream::KEY, "{address}");
        }
        for address in ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"].map(at) {
            let reply = ask(address, "GET", "/v1/credentials", "");
            assert_eq!(reply.json()["AccessKeyId"], upstream::KEY, "{address}");
        }
        drop(daemon);
    });
}

/// A neighbour can route to any address of this host.
#[test]
fn a_neighbour_that_routes_to_the_real_addresses_gets_no_byte() {
    let (Some(host), Some(neighbour)) = (Network::with(&ADDRESSES), Network::new()) else {
        return;
    };
    let veth = format!(
        "link add here type veth peer name there netns {}",
        neighbour.name()
    );
    host.ip(&veth);
    for (network, device, address, address_v6) in [
        (&host, "here", "10.98.0.1/24", "fd98::1/64"),
        (&neighbour, "there", "10.98.0.2/24", "fd98::2/64"),
    ] {
        network.ip(&format!("address add {address} dev {device}"));
        network.ip(&format!("address add {address_v6} dev {device} nodad"));
        network.ip(&format!("link set {device} up"));
    }
    for address in ADDRESSES {
        let gateway = if address.contains(':') {
            "fd98::1"
        } else {
            "10.98.0.1"
        };
        neighbour.ip(&format!("route add {address} via {gateway}"));
    }
    let clock = Arc::new(HandClock::new());
    let (daemon, _upstream) = host.run(|| {
        let expiry = clock.now().plus(LIFETIME);
        let upstream = Upstream::answering(upstream::credentials(expiry));
        (stand_in(&upstream, &clock), upstream)
    });
    neighbour.run(|| {
        for address in ADDRESSES.map(at) {
            let Ok(mut stream) = TcpStream::connect(address) else {
                continue;
            };
            let request = "GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.2\r\n\r\n";
            assert!(exchange(&mut stream, request).is_none(), "{address}");
        }
    });
    drop(daemon);
}

/// On a host with no role, a chain that ends with instance metadata would find credd itself there.
#[test]
fn credd_at_the_address_of_instance_metadata_never_asks_itself() {
    for mode in ["IPv4", "IPv6"] {
        let Some(network) = Network::with(&ADDRESSES[..2]) else {
            return;
        };
        network.run(|| {
            let link = Link::InstanceMetadata(imds::Config {
                endpoint_mode: Some(mode.to_owned()),
                ..imds::Config::default()
            });
            let mut config = daemon::config([(name("default"), vec![link])].into(), "127.0.0.1:0");
            config.serve.imds = Some(ImdsConfig {
                listen: ADDRESSES[..2].iter().map(|it| at(it)).collect(),
                identity: None,
                region: None,
            });
            let clock = Arc::new(HandClock::new());
            let daemon = InProcess::with(clock as _, config, Environment::default());
            let failure = eventually("the identity fails", || {
                daemon.status().identities[0].failure.clone()
            });
            assert_eq!(failure.class, "misconfigured", "{}", failure.message);
            assert!(
                failure.message.contains("is credd's own endpoint"),
                "{}",
                failure.message
            );
        });
    }
}

#[test]
fn an_address_that_is_missing_stops_the_start_with_the_command_that_adds_it() {
    let Some(network) = Network::new() else {
        return;
    };
    network.run(|| {
        let upstream = Upstream::hanging();
        let mut config = config(&Told::default(), &upstream);
        if let Some(imds) = &mut config.serve.imds {
            imds.listen = vec![at("169.254.169.254")];
        }
        let directory = tempfile::tempdir().unwrap();
        let parts = credd::daemon::Parts {
            config,
            environment: Arc::new(Environment::default()),
            outlets: Outlets::to(std::io::sink()),
            runtime_directory: directory.path().to_owned(),
            config_file: None,
            confinement: credd::daemon::sandbox::Confinement::default(),
            inherited: credd::systemd::Inherited::default(),
            is_on_ec2: false,
            clock: Arc::new(HandClock::new()) as _,
            draws: |_| Box::new(credd::random::SystemDraws),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let error = runtime.block_on(credd::daemon::Daemon::start(parts));
        let error = error.unwrap_err().to_string();
        for part in [
            "cannot listen on 169.254.169.254:80",
            "`ip address add 169.254.169.254/32 dev lo scope host`",
            "credd-address@169.254.169.254.service",
        ] {
            assert!(error.contains(part), "{error}");
        }
    });
}
