//! What becomes of an answer: the word of whoever tried the code, and what the person hears.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::identity::IdentityName;
use crate::printable;

/// Whose code it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub identity: IdentityName,
    /// Of the device, e.g. `arn:aws:iam::123456789012:mfa/ops`.
    pub serial: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { identity, serial } = self;
        write!(formatter, "{identity} ({serial})")
    }
}

/// What the provider that tried a code says. Texts are made printable and bounded here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is a session, which ends then.
    Accepted { until: Timestamp },
    /// AWS said no, in these words. The code is spent.
    Refused(String),
    /// Nothing has left this host, for this reason. The code is as good as before.
    Unsent(String),
    /// Something may have, and no answer came, for this reason. The code may be spent.
    Unclear(String),
}

/// A code was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub subject: Subject,
    pub until: Timestamp,
}

impl fmt::Display for Accepted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, until } = self;
        write!(
            formatter,
            "accepted: {} is good until {until}",
            subject.identity
        )
    }
}

/// Why a code was not taken, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAccepted {
    /// No identity uses codes.
    NothingOpen,
    /// None has this name.
    Unknown {
        which: String,
        open: Vec<Subject>,
    },
    /// Any of these may be meant.
    Ambiguous {
        open: Vec<Subject>,
    },
    /// Somebody else's code is being tried.
    Busy {
        subject: Subject,
    },
    /// Somebody else's code has just been taken.
    AlreadyAnswered {
        subject: Subject,
        until: Timestamp,
    },
    /// The code was sent before.
    AlreadyUsed {
        subject: Subject,
        next_in: Duration,
    },
    Refused {
        subject: Subject,
        word: String,
    },
    Unsent {
        subject: Subject,
        why: String,
    },
    Unclear {
        subject: Subject,
        why: String,
    },
    /// The identity stopped asking before the code was tried.
    Gone {
        subject: Subject,
    },
    /// Nobody came for the code in time. It has not been tried.
    NotTaken {
        subject: Subject,
    },
}

impl NotAccepted {
    /// Its name for scripts.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NothingOpen => "nothing-open",
            Self::Unknown { .. } => "unknown",
            Self::Ambiguous { .. } => "ambiguous",
            Self::Busy { .. } => "busy",
            Self::AlreadyAnswered { .. } => "already-answered",
            Self::AlreadyUsed { .. } => "already-used",
            Self::Refused { .. } => "refused",
            Self::Unsent { .. } => "unsent",
            Self::Unclear { .. } => "unclear",
            Self::Gone { .. } => "gone",
            Self::NotTaken { .. } => "not-taken",
        }
    }

    pub(super) fn of(verdict: Verdict, subject: Subject) -> Result<Accepted, Self> {
        Err(match verdict {
            Verdict::Accepted { until } => return Ok(Accepted { subject, until }),
            Verdict::Refused(word) => Self::Refused {
                subject,
                word: printable(&word),
            },
            Verdict::Unsent(why) => Self::Unsent {
                subject,
                why: printable(&why),
            },
            Verdict::Unclear(why) => Self::Unclear {
                subject,
                why: printable(&why),
            },
        })
    }
}

impl fmt::Display for NotAccepted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingOpen => formatter.write_str(
                "no identity of this daemon uses MFA codes; `credd status` shows what each is \
                 waiting for",
            ),
            Self::Unknown { which, open } => {
                write!(
                    formatter,
                    "no identity or device `{which}` uses MFA codes; "
                )?;
                listed(formatter, open, "this does", "these do")
            }
            Self::Ambiguous { open } => {
                formatter.write_str("say whose code it is, by identity or device: ")?;
                listed(formatter, open, "there is", "there are")
            }
            Self::Busy { subject } => write!(
                formatter,
                "another code for {} is being tried right now, and this one was not sent; \
                 `credd mfa` shows what came of it",
                subject.identity
            ),
            Self::AlreadyAnswered { subject, until } => write!(
                formatter,
                "{} has just been answered by somebody else and is good until {until}; this code \
                 was not sent",
                subject.identity
            ),
            Self::AlreadyUsed { next_in, .. } => write!(
                formatter,
                "this code has been sent before, and AWS takes each once; type the next one, \
                 which the device shows in {} s",
                next_in.as_secs_f64().ceil()
            ),
            Self::Refused { subject, word } => write!(
                formatter,
                "AWS refused the code for {subject}: {word}; this attempt is spent: if the device \
                 is the right one, type the code that it shows next"
            ),
            Self::Unsent { subject, why } => write!(
                formatter,
                "the code for {} was not sent: {why}; it is not spent: try again",
                subject.identity
            ),
            Self::Unclear { subject, why } => write!(
                formatter,
                "no answer to the code for {}: {why}; it may be spent: try again with the code \
                 that the device shows next",
                subject.identity
            ),
            Self::Gone { subject } => write!(
                formatter,
                "{} stopped asking before the code was tried, so it was not sent; see \
                 `credd status`",
                subject.identity
            ),
            Self::NotTaken { subject } => write!(
                formatter,
                "{} was too busy to try the code, so it was not sent; try again, and see the log \
                 if that does not help",
                subject.identity
            ),
        }
    }
}

impl std::error::Error for NotAccepted {}

fn listed(
    formatter: &mut fmt::Formatter<'_>,
    subjects: &[Subject],
    one: &str,
    several: &str,
) -> fmt::Result {
    let word = if subjects.len() == 1 { one } else { several };
    let subjects: Vec<String> = subjects.iter().map(Subject::to_string).collect();
    write!(formatter, "{word}: {}", subjects.join(", "))
}

/// What others said, on one line and of bounded length: room for what AWS says, which is cut to
/// 1000 characters, and for what was asked and what to do about it around that.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 1500;
    printable::line(text, LONGEST)
}
