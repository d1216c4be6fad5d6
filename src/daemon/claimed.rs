//! What only one instance may have.

use std::path::PathBuf;
use std::sync::Arc;

use super::StartError;
use super::admitted::Admitted;
use super::doors::{Doors, Prepared};
use super::handover::HandedOver;
use super::runtime_directory::RuntimeDirectory;
use super::terms::policy_of;
use super::wanted::wanted;
use crate::audit;
use crate::authz::Policy;
use crate::config::Config;
use crate::random;
use crate::serve::Witness;
use crate::systemd::Inherited;

/// Everything that only one instance may have, and what says whether it may.
pub(super) struct Claimed {
    pub(super) witness: Witness,
    pub(super) policy: Policy,
    pub(super) directory: Arc<RuntimeDirectory>,
    pub(super) audit: (audit::Audit, audit::Writer),
    pub(super) handed_over: HandedOver,
    pub(super) admitted: Admitted,
    pub(super) doors: Prepared,
}

impl Claimed {
    /// In the order in which a failure does the least harm: the directory, the ports, then the
    /// names of the sockets. What is handed over is taken into `config`.
    pub(super) async fn by(
        config: &mut Config,
        directory: PathBuf,
        inherited: &mut Inherited,
        outlets: audit::Outlets,
    ) -> Result<Self, StartError> {
        let handed_over = HandedOver::of(inherited);
        handed_over.is_meant_by(&mut config.serve, &directory)?;
        let witness = Witness::asking_by(inherited.sock_diag.take());
        witness.suffices_for(&config.allow, &config.serve.tcp_addresses())?;
        let policy = policy_of(config);
        let directory = Arc::new(RuntimeDirectory::claim(directory)?);
        let audit = audit::open(&config.audit, outlets, random::bytes())?;
        let admitted = Admitted::to(
            &directory,
            &config.serve,
            &policy,
            &config.tokens,
            &handed_over,
        )
        .await?;
        directory.let_in(admitted.passage)?;
        let wanted = wanted(&config.serve, &directory, admitted);
        Ok(Self {
            doors: Doors::default().prepare(wanted, &handed_over).await?,
            handed_over,
            witness,
            policy,
            directory,
            audit,
            admitted,
        })
    }
}
