//! Why an identity is the one that it is: from what a survey has found to what a person is told.

use crate::api::{Explanation, IdentityStatus, LinkReport};
use crate::providers::chain::INSTANCE_ADVICE;
use crate::providers::survey::{
    Finding, Found, Surveyed, chosen, rests_on_long_lived_keys, titled,
};

/// Draws the conclusion.
pub(super) fn explanation(
    surveyed: &[Surveyed],
    status: IdentityStatus,
    is_on_ec2: bool,
) -> Explanation {
    let chosen = chosen(surveyed);
    let shadowed: Vec<(&Surveyed, &Found)> = surveyed
        .iter()
        .skip_while(|it| chosen.is_some_and(|chosen| !std::ptr::eq(*it, chosen)))
        .skip(1)
        .filter_map(|it| Some((it, it.found()?)))
        .collect();
    let links = surveyed
        .iter()
        .map(|it| report(it, chosen, &shadowed, &status));
    Explanation {
        name: status.name.clone(),
        conclusion: conclusion(chosen, &shadowed),
        remedy: remedy(chosen, &shadowed),
        warning: (is_on_ec2 && rests_on_long_lived_keys(surveyed))
            .then(|| INSTANCE_ADVICE.to_owned()),
        links: links.collect(),
        status,
    }
}

fn conclusion(chosen: Option<&Surveyed>, shadowed: &[(&Surveyed, &Found)]) -> String {
    let names: Vec<String> = shadowed
        .iter()
        .map(|(it, found)| titled(it.link, &found.what))
        .collect();
    let names = names.join(" and ");
    let Some(chosen) = chosen else {
        return "no source of credentials is configured".to_owned();
    };
    match &chosen.finding {
        Finding::Found(found) if names.is_empty() => titled(chosen.link, &found.what),
        Finding::Found(found) => {
            format!("{} shadows {names}", titled(chosen.link, &found.what))
        }
        Finding::Broken(_) | Finding::NotConfigured(_) if names.is_empty() => {
            format!("{} is configured and cannot work", chosen.link)
        }
        Finding::Broken(_) | Finding::NotConfigured(_) => format!(
            "{} is configured and cannot work, and keeps {names} from being used: only what is not \
             configured is passed over",
            chosen.link
        ),
    }
}

/// What would make the first of the shadowed the chosen one.
fn remedy(chosen: Option<&Surveyed>, shadowed: &[(&Surveyed, &Found)]) -> Option<String> {
    let (wanted, _) = shadowed.first()?;
    let provider = format!("give the identity `provider = \"{}\"`", wanted.provider);
    Some(match chosen?.found() {
        Some(found) => format!("{}, or {provider}", found.removal),
        None => format!("mend it, or {provider}"),
    })
}

fn report(
    surveyed: &Surveyed,
    chosen: Option<&Surveyed>,
    shadowed: &[(&Surveyed, &Found)],
    status: &IdentityStatus,
) -> LinkReport {
    let is_chosen = chosen.is_some_and(|chosen| std::ptr::eq(chosen, surveyed));
    let has_nothing = !status.is_served && !status.is_source_only;
    let refusal = status.failure.as_ref().filter(|_| is_chosen && has_nothing);
    let (outcome, finding) = match (&surveyed.finding, refusal) {
        // A look cannot tell what AWS says of it, and the daemon has asked.
        (Finding::Found(found), Some(failure)) => {
            ("failed", format!("{}: {}", found.what, failure.class))
        }
        (Finding::Found(found), None) if is_chosen => ("chosen", found.what.clone()),
        (Finding::Found(found), None) => ("shadowed", found.what.clone()),
        (Finding::NotConfigured(why), _) => ("skipped", why.clone()),
        (Finding::Broken(why), _) if is_chosen => ("failed", why.clone()),
        (Finding::Broken(why), _) => ("skipped", format!("not come to, and could not work: {why}")),
    };
    let shadows = shadowed.iter().filter(|_| is_chosen);
    LinkReport {
        name: surveyed.link.to_owned(),
        outcome: outcome.to_owned(),
        finding,
        shadowed_by: chosen
            .filter(|_| outcome == "shadowed")
            .map(|chosen| chosen.link.to_owned()),
        shadows: shadows.map(|(it, _)| it.link.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::FailureReport;

    fn surveyed(link: &'static str, provider: &'static str, finding: Finding) -> Surveyed {
        Surveyed {
            link,
            provider,
            finding,
        }
    }

    fn environment(finding: Finding) -> Surveyed {
        surveyed("environment", "environment", finding)
    }

    fn instance(finding: Finding) -> Surveyed {
        surveyed("instance metadata", "imds", finding)
    }

    fn found(what: &str, is_long_lived: bool) -> Finding {
        Finding::Found(Found {
            what: what.to_owned(),
            removal: "unset AWS_ACCESS_KEY_ID in credd's environment".to_owned(),
            is_long_lived,
            mfa_serial: None,
        })
    }

    fn absent() -> Finding {
        Finding::NotConfigured("AWS_ACCESS_KEY_ID is not set".to_owned())
    }

    fn broken() -> Finding {
        Finding::Broken("no secret".to_owned())
    }

    fn status() -> IdentityStatus {
        IdentityStatus {
            name: "default".to_owned(),
            state: "fresh".to_owned(),
            is_served: true,
            is_source_only: false,
            source: None,
            key: None,
            account_id: None,
            expiry: None,
            seconds_left: None,
            refreshed: None,
            next_refresh: None,
            next_refresh_seconds: None,
            failure: None,
        }
    }

    /// The conclusion, the remedy, and each link's outcome.
    fn explained(chain: &[Surveyed]) -> (String, Option<String>, Vec<String>) {
        let explained = explanation(chain, status(), false);
        let outcomes = explained.links.into_iter().map(|link| link.outcome);
        (explained.conclusion, explained.remedy, outcomes.collect())
    }

    #[test]
    fn what_comes_first_shadows_what_is_there_too() {
        let chain = [
            environment(found("AWS_ACCESS_KEY_ID", false)),
            surveyed("profile", "profile", absent()),
            instance(found("role app", false)),
        ];
        let (conclusion, remedy, outcomes) = explained(&chain);
        assert_eq!(
            conclusion,
            "environment (AWS_ACCESS_KEY_ID) shadows instance metadata (role app)"
        );
        let expected = "unset AWS_ACCESS_KEY_ID in credd's environment, or give the identity \
                        `provider = \"imds\"`";
        assert_eq!(remedy.as_deref(), Some(expected));
        assert_eq!(outcomes, ["chosen", "skipped", "shadowed"]);
        let links = explanation(&chain, status(), false).links;
        assert_eq!(links[0].shadows, ["instance metadata"]);
        assert_eq!(links[2].shadowed_by.as_deref(), Some("environment"));
    }

    #[test]
    fn what_stands_alone_shadows_nothing() {
        let chain = [environment(absent()), instance(found("role app", false))];
        let (conclusion, remedy, outcomes) = explained(&chain);
        assert_eq!(conclusion, "instance metadata (role app)");
        assert_eq!(remedy, None);
        assert_eq!(outcomes, ["skipped", "chosen"]);
        let chain = [environment(found("X", false)), instance(broken())];
        let (conclusion, remedy, outcomes) = explained(&chain);
        assert_eq!((conclusion.as_str(), remedy), ("environment (X)", None));
        assert_eq!(outcomes, ["chosen", "skipped"]);
    }

    #[test]
    fn what_cannot_work_is_not_passed_over() {
        let chain = [environment(broken()), instance(found("role app", false))];
        let (conclusion, remedy, outcomes) = explained(&chain);
        assert!(conclusion.contains("keeps instance metadata (role app) from"));
        let expected = "mend it, or give the identity `provider = \"imds\"`";
        assert_eq!(remedy.as_deref(), Some(expected));
        assert_eq!(outcomes, ["failed", "shadowed"]);
    }

    #[test]
    fn a_chain_without_anything_says_so() {
        let (conclusion, remedy, outcomes) = explained(&[environment(absent())]);
        assert_eq!(conclusion, "no source of credentials is configured");
        assert_eq!((remedy, outcomes), (None, vec!["skipped".to_owned()]));
        assert_eq!(explained(&[]).2, Vec::<String>::new());
    }

    #[test]
    fn what_aws_has_refused_has_failed() {
        let refused = IdentityStatus {
            is_served: false,
            failure: Some(FailureReport {
                class: "denied".to_owned(),
                message: "AccessDenied".to_owned(),
                count: 1,
                since: String::new(),
            }),
            ..status()
        };
        let chain = [environment(found("X", false))];
        let link = &explanation(&chain, refused.clone(), false).links[0];
        assert_eq!(
            (link.outcome.as_str(), link.finding.as_str()),
            ("failed", "X: denied")
        );
        // With a set in hand a failure is no more than a failure.
        let served = IdentityStatus {
            is_served: true,
            ..refused
        };
        assert_eq!(
            explanation(&chain, served, false).links[0].outcome,
            "chosen"
        );
    }

    #[test]
    fn long_lived_keys_are_warned_of_on_an_instance_alone() {
        let warning = |is_long_lived, is_on_ec2| {
            let chain = [environment(found("X", is_long_lived))];
            explanation(&chain, status(), is_on_ec2).warning
        };
        assert!(warning(true, true).unwrap().contains("instance profile"));
        assert_eq!(warning(true, false), None);
        assert_eq!(warning(false, true), None);
    }
}
