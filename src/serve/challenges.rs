//! What only a person can answer, as operators see it, and their answers.

use hyper::body::Incoming;
use hyper::{Response, StatusCode};

use super::{Body, Refusal, Site, question, whole};
use crate::api::{AnswerReport, ChallengeReport, ChallengesReport, MfaAnswer};
use crate::challenge::{Accepted, MfaCode, NotAccepted, Open};
use crate::clock::Timestamp;

impl Site {
    /// Every session that a person can renew.
    pub fn challenges(&self) -> ChallengesReport {
        let now = self.clock.now();
        let open = self.challenges.list();
        ChallengesReport {
            challenges: open.into_iter().map(|open| report(&open, now)).collect(),
        }
    }

    /// Those that wait for a code now.
    pub(super) fn pending_challenges(&self) -> Vec<ChallengeReport> {
        let mut challenges = self.challenges().challenges;
        challenges.retain(|challenge| challenge.pending_since.is_some());
        challenges
    }

    /// Tries a code, and waits for what comes of it.
    pub(super) async fn answer(&self, body: Incoming) -> Result<Response<Body>, Refusal> {
        let MfaAnswer { identity, code } = &question::read(self, body).await?;
        let report = match MfaCode::parse(code) {
            Ok(code) => answered(self.challenges.answer(identity.as_deref(), code).await),
            Err(problem) => AnswerReport {
                outcome: "no-code".to_owned(),
                message: problem.to_string(),
                until: None,
            },
        };
        let report = serde_json::to_vec(&report).unwrap_or_default();
        Ok(whole(StatusCode::OK, report.into()))
    }
}

fn report(open: &Open, now: Timestamp) -> ChallengeReport {
    ChallengeReport {
        identity: open.subject.identity.to_string(),
        shared_by: open.shared_by.iter().map(ToString::to_string).collect(),
        serial: open.subject.serial.clone(),
        pending_since: open.pending_since.map(|instant| instant.to_string()),
        ends: open.ends.map(|instant| instant.to_string()),
        seconds_left: open.ends.map(|instant| now.until(instant).as_secs()),
        is_being_tried: open.is_being_tried,
        last: open.last.as_ref().map(|last| crate::api::LastAnswer {
            at: last.at.to_string(),
            answer: answered(last.outcome.clone()),
        }),
    }
}

fn answered(outcome: Result<Accepted, NotAccepted>) -> AnswerReport {
    match outcome {
        Ok(accepted) => AnswerReport {
            outcome: crate::api::ACCEPTED.to_owned(),
            message: accepted.to_string(),
            until: Some(accepted.until.to_string()),
        },
        Err(problem) => AnswerReport {
            outcome: problem.as_str().to_owned(),
            message: problem.to_string(),
            until: None,
        },
    }
}
