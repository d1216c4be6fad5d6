//! Why a daemon cannot start.

use std::fmt;

use super::handover::Mismatch;
use super::unusable::Unusable;
use crate::audit;
use crate::serve::{BindError, Untold};

/// Nothing of another instance has been touched then.
#[derive(Debug)]
pub enum StartError {
    RuntimeDirectory(Unusable),
    Audit(audit::Unusable),
    HandedOver(Mismatch),
    Bind(BindError),
    /// The rules ask for more about callers than the kernel tells here.
    Callers(Untold),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RuntimeDirectory(error) => error.fmt(formatter),
            Self::Audit(error) => error.fmt(formatter),
            Self::HandedOver(error) => error.fmt(formatter),
            Self::Bind(error) => error.fmt(formatter),
            Self::Callers(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for StartError {}

impl From<Unusable> for StartError {
    fn from(error: Unusable) -> Self {
        Self::RuntimeDirectory(error)
    }
}

impl From<audit::Unusable> for StartError {
    fn from(error: audit::Unusable) -> Self {
        Self::Audit(error)
    }
}

impl From<Mismatch> for StartError {
    fn from(error: Mismatch) -> Self {
        Self::HandedOver(error)
    }
}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<Untold> for StartError {
    fn from(error: Untold) -> Self {
        Self::Callers(error)
    }
}
