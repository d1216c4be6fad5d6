//! credd behind credd: our own source against our own endpoint.

use credd::providers::chain::Link;
use credd::providers::imds;

use super::*;

#[test]
fn one_daemon_gets_its_credentials_from_anothers_endpoint() {
    let first = Instance::new();
    let link = |identity: &str, instance_profile_name: Option<&str>| {
        let link = Link::InstanceMetadata(imds::Config {
            endpoint: Some(format!("http://{}", first.daemon.imds[0])),
            instance_profile_name: instance_profile_name.map(str::to_owned),
            ..imds::Config::default()
        });
        (name(identity), vec![link])
    };
    let identities = [link("discovered", None), link("named", Some("default"))];
    let config = daemon::config(identities.into(), "127.0.0.1:0");
    let clock = Arc::clone(&first.clock) as _;
    let second = InProcess::with(clock, config, Environment::default()).warm();
    for identity in ["discovered", "named"] {
        let (host, token) = (second.address, &second.token);
        let reply = exchange(
            &mut second.tcp(),
            format!(
                "GET /v1/credentials/{identity} HTTP/1.1\r\nHost: {host}\r\n\
                 Authorization: {token}\r\n\r\n"
            ),
        );
        let answer = reply.unwrap().json();
        assert_eq!(answer["AccessKeyId"], upstream::KEY);
        // The extended path, with the account.
        assert_eq!(answer["AccountId"], upstream::ACCOUNT);
        let expiry = first.clock.now().plus(LIFETIME).to_string();
        assert_eq!(answer["Expiration"], expiry.as_str());
    }
}
