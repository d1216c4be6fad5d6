//! What one refresh leaves in the log: all that an operator, and AWS's support, would ask for.

use std::os::unix::net::UnixDatagram;

use credd::telemetry::{self, Sink};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::support::sinks;

#[test]
fn each_refresh_says_whose_it_was_by_which_provider_and_what_aws_calls_it() {
    run(async || {
        let ground = Ground::new().await;
        let keys = ground.keys();
        let socket = ground.folder.path().join("journal");
        let journald = UnixDatagram::bind(&socket).unwrap();
        journald.set_nonblocking(true).unwrap();
        let sink = Sink::journal(socket, std::io::sink()).unwrap();
        ground.aws.next(Call::AssumeRole, |_| {
            let refusal = Reply::sts_error(400, "Throttling", "Rate exceeded");
            refusal.with("x-amzn-RequestId", "c6104cbe-af31-11e0-8154-cbc7ccf896c7")
        });
        let house = ground.open(&[("deploy", role(named("ops"), DEPLOY)), ("ops", keys)]);
        let subscriber = tracing_subscriber::registry().with(telemetry::layer(sink));
        let logging = tracing::subscriber::set_default(subscriber);
        house.warm().await;
        house.refresh("deploy").await;
        drop(logging);
        let mut entries = Vec::new();
        let mut datagram = [0; 8192];
        while let Ok(length) = journald.recv(&mut datagram) {
            sinks::keep("journald.log", &datagram[..length]);
            entries.push(String::from_utf8(datagram[..length].to_vec()).unwrap());
        }
        let of_deploy = |message: &str| {
            let starts = format!("MESSAGE={message} identity=deploy ");
            let entry = entries.iter().find(|it| it.starts_with(&starts));
            entry.unwrap_or_else(|| panic!("no {message} in {entries:#?}"))
        };
        let failed = of_deploy("refresh failed");
        let refreshed = of_deploy("refreshed");
        for (entry, fields) in [
            (
                failed,
                ["PRIORITY=4", "CREDD_ATTEMPT=1", "CREDD_OUTCOME=failed"],
            ),
            (
                refreshed,
                ["PRIORITY=6", "CREDD_ATTEMPT=2", "CREDD_OUTCOME=new"],
            ),
        ] {
            let common = [
                "CREDD_IDENTITY=deploy",
                "CREDD_PROVIDER=role",
                "CREDD_DURATION_MS=",
            ];
            for field in fields.iter().chain(&common) {
                assert!(entry.contains(&format!("\n{field}")), "{field} in {entry}");
            }
            let request = entry.lines().find(|it| it.starts_with("CREDD_REQUEST_ID="));
            assert!(request.is_some_and(|it| it.len() > 20), "{entry}");
        }
        assert!(failed.contains("\nCREDD_CLASS=throttled\n"), "{failed}");
    });
}
