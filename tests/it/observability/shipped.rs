//! The board and the alerts that ship: that Prometheus takes them, that alerts fire when they say,
//! and that what they ask for is there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use credd::metrics::{Kind, declared};
use credd::os::files;
use serde_json::Value;

use super::promtool;

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(path)
}

fn read(path: &str) -> String {
    files::read_text_now(&shipped(path), 1024 * 1024)
        .unwrap()
        .to_string()
}

/// Every word that looks like the name of a metric of ours.
fn names(text: &str) -> BTreeSet<&str> {
    let is_word = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let words = text.split(|it| !is_word(it));
    words
        .filter(|it| it.starts_with("credd_") || it.starts_with("process_"))
        .collect()
}

/// Every name that the page has samples of.
fn samples() -> BTreeSet<String> {
    let suffixes = |kind: Kind| match kind {
        Kind::Histogram => &["_bucket", "_sum", "_count"][..],
        Kind::Counter | Kind::Gauge => &[""],
    };
    let all = declared::ALL.iter();
    all.flat_map(|it| {
        suffixes(it.kind)
            .iter()
            .map(|suffix| format!("{}{suffix}", it.name))
    })
    .collect()
}

#[test]
fn every_metric_that_the_board_and_the_alerts_name_is_declared() {
    let samples = samples();
    for file in [
        "grafana/credd.json",
        "prometheus/credd.rules.yaml",
        "prometheus/credd.rules.test.yaml",
    ] {
        let text = read(file);
        let names = names(&text);
        assert!(names.len() > 5, "{file}: {names:?}");
        let unknown: Vec<_> = names
            .into_iter()
            .filter(|it| !samples.contains(*it))
            .collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

#[test]
fn every_metric_that_is_declared_for_operators_is_on_the_board() {
    let text = read("grafana/credd.json");
    let names = names(&text);
    // For queries by hand, and for the commands.
    let others = [
        "credd_last_refresh_timestamp_seconds",
        "credd_next_refresh_timestamp_seconds",
        "credd_reloads_total",
    ];
    for metric in declared::ALL.iter().filter(|it| !others.contains(&it.name)) {
        let is_named = names.iter().any(|it| it.starts_with(metric.name));
        assert!(is_named, "{}", metric.name);
    }
}

/// Every query of the board.
fn queries(board: &Value, found: &mut Vec<String>) {
    match board {
        Value::Object(object) => {
            for (key, value) in object {
                match value.as_str() {
                    Some(query) if key == "expr" => found.push(query.to_owned()),
                    _ => queries(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|it| queries(it, found)),
        _ => {}
    }
}

#[test]
fn prometheus_can_read_every_query_of_the_board() {
    let board: Value = serde_json::from_str(&read("grafana/credd.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|it| it["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        assert!(
            !panel["description"].as_str().unwrap().is_empty(),
            "{}",
            panel["title"]
        );
        assert!(
            !panel["targets"].as_array().unwrap().is_empty(),
            "{}",
            panel["title"]
        );
    }
    let mut all = Vec::new();
    queries(&board, &mut all);
    assert!(all.len() > panels.len(), "{}", all.len());
    // As rules, which promtool reads without a server.
    let rules = all.iter().enumerate();
    let rules: Vec<String> = rules
        .map(|(number, query)| {
            let query = query
                .replace("$__rate_interval", "5m")
                .replace("$__range", "6h");
            let query = query.replace("$instance", ".*").replace("$identity", ".*");
            let query = serde_json::to_string(&query).unwrap();
            format!("  - record: board:query:{number}\n    expr: {query}\n")
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("board.yaml");
    let rules = format!("groups:\n- name: board\n  rules:\n{}", rules.concat());
    files::write_private(&path, rules.as_bytes()).unwrap();
    check(&["check", "rules", path.to_str().unwrap()]);
}

#[test]
fn alerts_are_well_formed_and_fire_when_they_say() {
    let rules = shipped("prometheus/credd.rules.yaml");
    let cases = shipped("prometheus/credd.rules.test.yaml");
    check(&["check", "rules", rules.to_str().unwrap()]);
    check(&["test", "rules", cases.to_str().unwrap()]);
    let (rules, cases) = (
        read("prometheus/credd.rules.yaml"),
        read("prometheus/credd.rules.test.yaml"),
    );
    let alerts = rules
        .lines()
        .filter_map(|it| it.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:");
        assert!(cases.contains(&fires), "no case in which {alert} fires");
        let rests = format!("alertname: {alert}}}");
        assert!(
            cases.contains(&rests),
            "no case in which {alert} does not fire"
        );
    }
}

fn check(words: &[&str]) {
    let Some(mut promtool) = promtool(words) else {
        return;
    };
    let said = promtool.output().unwrap();
    assert!(said.status.success(), "{said:?}");
}
