//! The metrics page: what is declared, and only that, with the numbers of what has happened.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use credd::clock::{Clock, SystemClock, Timestamp};
use credd::metrics::{Kind, declared};
use credd::providers::chain::Link;
use credd::providers::imds;
use credd::serve::{Limits, MetricsConfig};

use super::{Samples, asked, get, promtool, text};
use crate::serving::clock::HandClock;
use crate::serving::daemon::{self, InProcess};
use crate::serving::eventually;
use crate::serving::program::Place;
use crate::serving::upstream::{self, Answer, Upstream};
use crate::serving::wire::exchange;

const HOURS: Duration = Duration::from_hours(6);

/// One identity in hand and one that is refused, at a time that stands still.
struct Served {
    daemon: InProcess,
    now: Timestamp,
    _upstreams: [Upstream; 2],
}

impl Served {
    fn new() -> Self {
        let clock = Arc::new(HandClock::new());
        let now = clock.now();
        let good = Upstream::answering(upstream::credentials(now.plus(HOURS)));
        let bad = Upstream::answering(Answer {
            status: 403,
            body: "{}".to_owned(),
        });
        let identities = [("billing", good.uri("/a")), ("ops", bad.uri("/b"))];
        let daemon = InProcess::start(clock, &identities);
        eventually("both were asked for", || {
            let identities = daemon.status().identities;
            let is_done = |it: &credd::api::IdentityStatus| it.is_served || it.failure.is_some();
            identities.iter().all(is_done).then_some(())
        });
        Self {
            daemon,
            now,
            _upstreams: [good, bad],
        }
    }
}

#[test]
fn each_metric_that_is_declared_is_on_the_page_in_its_place_and_no_other_is() {
    let served = Served::new();
    let reply = asked(&mut served.daemon.admin(), "/metrics");
    let format = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(reply.header("content-type"), Some(format));
    let page = text(reply);
    let types: Vec<&str> = page
        .lines()
        .filter_map(|it| it.strip_prefix("# TYPE "))
        .collect();
    let expected: Vec<String> = declared::ALL
        .iter()
        .map(|it| format!("{} {}", it.name, it.kind.as_str()))
        .collect();
    assert_eq!(types, expected);
    // Each sample stands below its metric and has the labels that this declares.
    let mut below = None;
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("# HELP ") {
            let name = name.split(' ').next().unwrap();
            below = declared::ALL.iter().find(|it| it.name == name);
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let metric = below.unwrap();
        let sample = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        let suffix = name.strip_prefix(metric.name).unwrap();
        let is_histogram = metric.kind == Kind::Histogram;
        assert_eq!(
            is_histogram,
            ["_bucket", "_sum", "_count"].contains(&suffix),
            "{line}"
        );
        let labels = labels.strip_suffix('}').unwrap().split(',');
        let labels: Vec<_> = labels
            .filter_map(|it| Some(it.split_once('=')?.0))
            .filter(|it| *it != "le")
            .collect();
        assert_eq!(labels, metric.labels, "{line}");
    }
}

#[test]
fn prometheus_finds_no_fault_with_the_page() {
    let Some(mut promtool) = promtool(&["check", "metrics"]) else {
        return;
    };
    let served = Served::new();
    let page = text(asked(&mut served.daemon.admin(), "/metrics"));
    promtool
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut checking = promtool.spawn().unwrap();
    checking
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let said = checking.wait_with_output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
}

#[test]
fn the_state_of_each_identity_is_told_as_prometheus_tells_time_and_state() {
    let Served { daemon, now, .. } = &Served::new();
    let samples = Samples::of(daemon);
    let seconds = |instant: Timestamp| instant.unix_millis() / 1000;
    let value = |sample: &str| samples.value(sample);
    let is_at = |sample: &str, instant: Timestamp| {
        assert_eq!(value(sample), seconds(instant).to_string(), "{sample}");
    };
    let expiry = "credd_credentials_expiry_timestamp_seconds";
    is_at(
        &format!("{expiry}{{identity=\"billing\"}}"),
        now.plus(HOURS),
    );
    assert_eq!(samples.of_metric(expiry).len(), 1, "the other has none");
    is_at(
        "credd_last_refresh_timestamp_seconds{identity=\"billing\"}",
        *now,
    );
    let states = [
        (
            "credd_identity_state{identity=\"billing\",state=\"fresh\"}",
            "1",
        ),
        (
            "credd_identity_state{identity=\"ops\",state=\"failed\"}",
            "1",
        ),
    ];
    assert_eq!(samples.of_metric("credd_identity_state"), states);
    assert_eq!(value("credd_identity_ready{identity=\"billing\"}"), "1");
    assert_eq!(value("credd_identity_ready{identity=\"ops\"}"), "0");
    assert_eq!(value("credd_refreshes_total{identity=\"billing\"}"), "1");
    let failures = "credd_refresh_failures_total{identity=\"ops\",class=\"denied\"}";
    assert_eq!(
        samples.of_metric("credd_refresh_failures_total"),
        [(failures, "1")]
    );
    assert_eq!(
        value("credd_refresh_consecutive_failures{identity=\"ops\"}"),
        "1"
    );
    let asked = "credd_upstream_request_duration_seconds_count{service=\"container\"}";
    assert_eq!(value(asked), "2");
    assert_eq!(
        value("process_start_time_seconds"),
        value("credd_last_refresh_timestamp_seconds{identity=\"billing\"}")
    );
    let number = |sample: &str| -> f64 { value(sample).parse().unwrap() };
    for of_process in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    ] {
        assert!(number(of_process) > 1.0, "{of_process}");
    }
    assert!(number("process_cpu_seconds_total") > 0.0);
}

#[test]
fn requests_and_denials_are_counted_by_what_was_proved() {
    let Served { daemon, .. } = &Served::new();
    let token = format!("Authorization: {}\r\n", daemon.token);
    let ask = |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        exchange(&mut daemon.tcp(), request).unwrap().status
    };
    assert_eq!(ask("/v1/credentials/billing", &token), 200);
    assert_eq!(ask("/v1/credentials/ops", &token), 403);
    assert_eq!(ask("/v1/credentials/none", &token), 404);
    assert_eq!(ask("/v1/credentials/billing", ""), 403);
    assert_eq!(
        ask(
            "/v1/credentials/billing",
            "Authorization: canary-of-a-wrong-token\r\n"
        ),
        403
    );
    assert_eq!(ask("/v1/credentials/billing", "Via: 1.1 proxy\r\n"), 403);
    assert_eq!(
        asked(&mut daemon.unix(), "/v1/credentials/none").status,
        404
    );
    let samples = Samples::of(daemon);
    let expected = [
        ("credd_requests_total{listener=\"http\",code=\"200\"}", "1"),
        ("credd_requests_total{listener=\"http\",code=\"403\"}", "4"),
        ("credd_requests_total{listener=\"http\",code=\"404\"}", "1"),
        ("credd_requests_total{listener=\"unix\",code=\"404\"}", "1"),
    ];
    assert_eq!(samples.of_metric("credd_requests_total"), expected);
    // What is refused for lack of credentials is none.
    let counted = [
        ("tcp-user", "no-token"),
        ("tcp-user", "request"),
        ("tcp-user", "unknown-token"),
        ("token", "unknown-identity"),
        ("unix", "unknown-identity"),
    ];
    let expected = counted.map(|(caller, reason)| {
        let sample = format!("credd_denials_total{{caller=\"{caller}\",reason=\"{reason}\"}}");
        (sample, "1")
    });
    let expected = expected
        .each_ref()
        .map(|(sample, count)| (sample.as_str(), *count));
    assert_eq!(samples.of_metric("credd_denials_total"), expected);
    let timed = "credd_request_duration_seconds_count{listener=\"http\"}";
    assert_eq!(samples.value(timed), "6");
}

#[test]
fn connections_are_counted_while_they_are_open_and_where_a_limit_turns_them_away() {
    let clock = Arc::new(HandClock::new());
    let upstream = Upstream::answering(upstream::credentials(clock.now().plus(HOURS)));
    let mut config = daemon::config(
        daemon::identities(&[("billing", upstream.uri("/"))]),
        "127.0.0.1:0",
    );
    config.serve.limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let daemon = InProcess::with(clock, config, credd::environment::Environment::default());
    let mut open = [daemon.unix(), daemon.unix()];
    for stream in &mut open {
        asked(stream, "/v1/endpoint");
    }
    assert_eq!(asked(&mut daemon.unix(), "/v1/endpoint").status, 429);
    let samples = Samples::of(&daemon);
    assert_eq!(samples.value("credd_connections{listener=\"unix\"}"), "2");
    assert_eq!(
        samples.value("credd_connections_refused_total{listener=\"unix\"}"),
        "1"
    );
    drop(open);
    eventually("the connections are closed", || {
        let samples = Samples::of(&daemon);
        let open = samples.value("credd_connections{listener=\"unix\"}");
        (open == "0").then_some(())
    });
}

#[test]
fn what_is_served_past_its_expiry_is_counted() {
    let clock = Arc::new(HandClock::new());
    let upstream = Upstream::answering(Answer {
        status: 500,
        body: String::new(),
    });
    let expired = clock.now().minus(Duration::from_mins(1));
    let Answer { status, body } = upstream::credentials(expired);
    // IMDS: any path answers with the token, the role's name or its set, as it comes.
    upstream.answer(Answer { status, body });
    let link = Link::InstanceMetadata(imds::Config {
        endpoint: Some(upstream.uri("")),
        instance_profile_name: Some("canary".to_owned()),
        ..imds::Config::default()
    });
    let identities = [("billing".parse().unwrap(), vec![link])].into();
    let config = daemon::config(identities, "127.0.0.1:0");
    let daemon = InProcess::with(clock, config, credd::environment::Environment::default()).warm();
    assert_eq!(Samples::of(&daemon).value("credd_served_stale_total"), "0");
    assert_eq!(
        asked(&mut daemon.unix(), "/v1/credentials/billing").status,
        200
    );
    let samples = Samples::of(&daemon);
    assert_eq!(samples.value("credd_served_stale_total"), "1");
    let state = "credd_identity_state{identity=\"billing\",state=\"stale\"}";
    assert_eq!(samples.value(state), "1");
}

/// One with a listener for what monitors it.
fn monitored(listen: &str, beyond_this_host: bool) -> (InProcess, Upstream) {
    let clock = Arc::new(HandClock::new());
    let upstream = Upstream::answering(upstream::credentials(clock.now().plus(HOURS)));
    let identities = daemon::identities(&[("billing", upstream.uri("/"))]);
    let mut config = daemon::config(identities, "127.0.0.1:0");
    config.serve.metrics = MetricsConfig {
        listen: vec![listen.parse().unwrap()],
        beyond_this_host,
    };
    let environment = credd::environment::Environment::default();
    (InProcess::with(clock, config, environment).warm(), upstream)
}

#[test]
fn a_listener_of_its_own_has_metrics_and_probes_and_nothing_else() {
    let (daemon, _upstream) = monitored("127.0.0.1:0", false);
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(daemon.metrics[0]).unwrap();
        exchange(&mut stream, request).unwrap()
    };
    let page = text(ask(&get("/metrics")));
    let samples = Samples::parse(&page);
    assert_eq!(
        samples.value("credd_identity_ready{identity=\"billing\"}"),
        "1"
    );
    for path in ["/livez", "/readyz", "/readyz/billing"] {
        assert_eq!(text(ask(&get(path))), "ok\n", "{path}");
    }
    for path in [
        "/",
        "/v1/status",
        "/v1/credentials",
        "/v1/log",
        "/v1/lease",
        "/metrics/",
    ] {
        assert_eq!(ask(&get(path)).status, 404, "{path}");
    }
    for request in [
        "POST /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: prometheus.example\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n",
    ] {
        assert_eq!(ask(request).status, 403, "{request}");
    }
}

#[test]
fn one_that_is_said_to_be_for_other_hosts_goes_by_any_name() {
    let (daemon, _upstream) = monitored("0.0.0.0:0", true);
    let address = ("127.0.0.1", daemon.metrics[0].port());
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        exchange(&mut stream, request).unwrap().status
    };
    assert_eq!(
        ask("GET /metrics HTTP/1.1\r\nHost: node-7.example:9170\r\n\r\n"),
        200
    );
    assert_eq!(
        ask("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        403
    );
    assert_eq!(ask("GET /v1/credentials HTTP/1.1\r\nHost: a\r\n\r\n"), 404);
}

#[test]
fn reloads_are_counted_by_their_outcome() {
    let expiry = SystemClock::new().now().plus(HOURS);
    let upstream = Upstream::answering(upstream::credentials(expiry));
    let place = Place::new(&[("default", upstream.uri("/"))]);
    let _daemon = place.serve();
    assert!(place.run(&["reload"]).is_success());
    credd::os::files::write_private(&place.config(), b"[nothing]\n").unwrap();
    assert_eq!(place.run(&["reload"]).code(), Some(1));
    let admin = place.runtime().join("admin/credd.sock");
    let page = text(asked(&mut UnixStream::connect(admin).unwrap(), "/metrics"));
    let samples = Samples::parse(&page);
    for outcome in ["applied", "refused"] {
        let sample = format!("credd_reloads_total{{outcome=\"{outcome}\"}}");
        assert_eq!(samples.value(&sample), "1", "{outcome}");
    }
}
