//! The task that keeps tokens valid, replaces them in time, and takes them back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::runtime_directory::{self, RuntimeDirectory};
use super::token_file::{self, Dated, MOST, TokenFile};
use super::unusable::Unusable;
use crate::api::{TokenChanges, TokenReport, TokensReport};
use crate::authz::{Bearer, Lease, Life, Rotation, TokenName, Tokens};
use crate::clock::{SharedClock, Timestamp};
use crate::config::TokenSettings;
use crate::secret::Secret;
use crate::serve::{self, TokenAction, TokenFailure, TokenOrder, TokenOrders};

/// After a failure: a full disk, most likely.
const PAUSE: Duration = Duration::from_mins(1);

/// Of those that have no settings.
const OVERLAP: Duration = Duration::from_mins(10);

pub(super) struct TokenKeeper {
    tokens: Arc<Tokens>,
    kept: BTreeMap<TokenName, Kept>,
    clock: SharedClock,
    orders: mpsc::Receiver<TokenOrder>,
    reloads: mpsc::Receiver<Reload>,
    directory: Arc<RuntimeDirectory>,
}

/// What a reload asks of the keeper, in two steps, so that nothing is taken from anybody before
/// everything else is sure.
enum Reload {
    /// Keep these, too.
    Adopt(
        BTreeMap<TokenName, TokenSettings>,
        oneshot::Sender<Result<Adopted, Unusable>>,
    ),
    /// Keep no others.
    Retain(BTreeSet<TokenName>),
}

/// The way of a reload to the keeper.
#[derive(Debug)]
pub(super) struct TokenReloads(mpsc::Sender<Reload>);

/// Tokens as a config has them.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) files: Vec<serve::TokenFile>,
    pub(super) changes: TokenChanges,
}

impl TokenReloads {
    /// Has those tokens kept that the settings name, besides those of before. Where one cannot be,
    /// all stay as they are.
    pub(super) async fn adopt(
        &self,
        settings: BTreeMap<TokenName, TokenSettings>,
    ) -> Result<Adopted, Unusable> {
        let (done, adopted) = oneshot::channel();
        let _ = self.0.send(Reload::Adopt(settings, done)).await;
        match adopted.await {
            Ok(adopted) => adopted,
            // The daemon ends.
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends all tokens but those of `files`.
    pub(super) async fn retain(&self, files: &[serve::TokenFile]) {
        let names = files.iter().map(|file| file.name.clone()).collect();
        let _ = self.0.send(Reload::Retain(names)).await;
    }
}

/// There is always the token `default`.
fn with_default(
    mut settings: BTreeMap<TokenName, TokenSettings>,
) -> BTreeMap<TokenName, TokenSettings> {
    settings
        .entry(TokenName::default())
        .or_insert(TokenSettings {
            group: None,
            mode: 0o600,
            rotate: None,
            overlap: OVERLAP,
        });
    settings
}

/// One token.
struct Kept {
    name: TokenName,
    file: TokenFile,
    path: PathBuf,
    settings: TokenSettings,
    rotation: Rotation,
    life: Life,
    /// Nothing only after one was taken back and no other could be written.
    current: Option<Lease>,
    /// As many as the life knows.
    superseded: Vec<Lease>,
}

impl TokenKeeper {
    /// Makes those tokens valid that an earlier run has left since the host was started, and makes
    /// the others. Those that the settings do not name are removed, but for the token `default`,
    /// which there always is.
    pub(super) fn open(
        directory: &Arc<RuntimeDirectory>,
        settings: BTreeMap<TokenName, TokenSettings>,
        clock: &SharedClock,
    ) -> Result<(Self, TokenOrders, TokenReloads), Unusable> {
        let tokens = Arc::new(Tokens::default());
        let (orders, received) = TokenOrders::new();
        let (reloads, to_reload) = mpsc::channel(1);
        let settings = with_default(settings);
        let folder = directory.tokens();
        let now = clock.now();
        token_file::remove_others(folder, |name| settings.contains_key(name))?;
        token_file::end_those_of_another_boot(folder, now)?;
        let mut keeper = Self {
            tokens,
            kept: BTreeMap::new(),
            clock: Arc::clone(clock),
            orders: received,
            reloads: to_reload,
            directory: Arc::clone(directory),
        };
        for (name, settings) in settings {
            let token = keeper.take_up(&name, &settings, now)?;
            keeper.kept.insert(name, token);
        }
        Ok((keeper, orders, TokenReloads(reloads)))
    }

    fn take_up(
        &self,
        name: &TokenName,
        settings: &TokenSettings,
        now: Timestamp,
    ) -> Result<Kept, Unusable> {
        let file = TokenFile::open(self.directory.tokens(), name, settings)?;
        let path = runtime_directory::token_file_of(self.directory.path(), name);
        Kept::open(
            name.clone(),
            file,
            path,
            settings.clone(),
            &self.tokens,
            now,
        )
    }

    /// Takes up those tokens that are new or kept otherwise than before.
    fn adopt(&mut self, settings: BTreeMap<TokenName, TokenSettings>) -> Result<Adopted, Unusable> {
        let now = self.clock.now();
        let settings = with_default(settings);
        let mut changes = TokenChanges::default();
        let mut taken_up = BTreeMap::new();
        for (name, settings) in &settings {
            let before = self.kept.get(name).map(|token| &token.settings);
            let list = match before {
                None => &mut changes.added,
                Some(before) if before == settings => &mut changes.kept,
                Some(_) => &mut changes.changed,
            };
            list.push(name.to_string());
            if before == Some(settings) {
                continue;
            }
            match self.take_up(name, settings, now) {
                Ok(token) => {
                    taken_up.insert(name.clone(), token);
                }
                Err(error) => {
                    let tried = taken_up.into_keys().chain([name.clone()]);
                    self.restore(tried.collect(), now);
                    return Err(error);
                }
            }
        }
        let gone = self.kept.keys().filter(|name| !settings.contains_key(name));
        changes.removed = gone.map(ToString::to_string).collect();
        self.kept.extend(taken_up);
        let files = self.files().into_iter();
        Ok(Adopted {
            files: files.filter(|it| settings.contains_key(&it.name)).collect(),
            changes,
        })
    }

    /// Keeps tokens as they were before somebody tried otherwise.
    fn restore(&mut self, tried: Vec<TokenName>, now: Timestamp) {
        for name in tried {
            let Some(before) = self.kept.get(&name).map(|token| token.settings.clone()) else {
                continue;
            };
            match self.take_up(&name, &before, now) {
                Ok(token) => {
                    self.kept.insert(name, token);
                }
                Err(error) => {
                    tracing::error!(token = %name, %error, "cannot give the token back its file");
                }
            }
        }
        self.remove_others();
    }

    fn retain(&mut self, names: &BTreeSet<TokenName>) {
        self.kept.retain(|name, _| names.contains(name));
        self.remove_others();
    }

    fn remove_others(&self) {
        let is_kept = |name: &TokenName| self.kept.contains_key(name);
        if let Err(error) = token_file::remove_others(self.directory.tokens(), is_kept) {
            tracing::error!(%error, "cannot remove the files of a token that is refused by now");
        }
    }

    /// Those that are valid.
    pub(super) fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.tokens)
    }

    /// Where each is, and who may read it.
    pub(super) fn files(&self) -> Vec<serve::TokenFile> {
        let kept = self.kept.values();
        kept.map(|token| serve::TokenFile {
            name: token.name.clone(),
            path: token.path.clone(),
            group: token.settings.group,
            mode: token.settings.mode,
        })
        .collect()
    }

    /// Never ends.
    pub(super) async fn run(mut self) {
        let mut jumps = self.clock.jumps();
        loop {
            let (now, boot) = (self.clock.now(), self.clock.boot());
            let has_failed = self.look_after_all(now);
            let next = self.kept.values().filter_map(Kept::next).min();
            let wait = next.map(|next| now.until(next));
            let wait = if has_failed { Some(PAUSE) } else { wait };
            let due = async {
                match wait {
                    Some(wait) => self.clock.sleep_until(boot.after(wait)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = jumps.next() => {}
                Some(reload) = self.reloads.recv() => match reload {
                    Reload::Adopt(settings, done) => {
                        let adopted = self.adopt(settings);
                        let _ = done.send(adopted);
                    }
                    Reload::Retain(names) => self.retain(&names),
                },
                Some(order) = self.orders.recv() => {
                    let outcome = self.obey(&order.action);
                    // Whoever asked may have left.
                    let _ = order.done.send(outcome);
                }
            }
        }
    }

    /// Ends and replaces what is due, and says whether something could not be.
    fn look_after_all(&mut self, now: Timestamp) -> bool {
        let mut has_failed = false;
        for token in self.kept.values_mut() {
            if let Err(error) = token.look_after(&self.tokens, now) {
                tracing::error!(token = %token.name, %error, "cannot replace the token; trying on");
                has_failed = true;
            }
        }
        has_failed
    }

    fn obey(&mut self, action: &TokenAction) -> Result<TokensReport, TokenFailure> {
        let now = self.clock.now();
        let (name, is_revoked) = match action {
            TokenAction::Look => {
                let tokens = self.kept.values().map(|token| token.report(now)).collect();
                return Ok(TokensReport { tokens });
            }
            TokenAction::Rotate(name) => (name, false),
            TokenAction::Revoke(name) => (name, true),
        };
        let token = self.kept.get_mut(name).ok_or(TokenFailure::NoSuchToken)?;
        let done = if is_revoked {
            token.revoke(&self.tokens, now)
        } else {
            token.rotate(&self.tokens, now)
        };
        let outcome = if is_revoked { "revoked" } else { "rotated" };
        match done {
            Ok(()) => {
                tracing::info!(token = %name, "{outcome} by order");
                let tokens = vec![token.report(now)];
                Ok(TokensReport { tokens })
            }
            Err(error) => {
                tracing::error!(token = %name, %error, "cannot write a new token");
                let what = if is_revoked {
                    "the token is refused from now on, but there is no new one yet"
                } else {
                    "the token stays as it is"
                };
                Err(TokenFailure::Unwritable(format!("{what}: {error}")))
            }
        }
    }
}

impl Kept {
    fn open(
        name: TokenName,
        file: TokenFile,
        path: PathBuf,
        settings: TokenSettings,
        tokens: &Arc<Tokens>,
        now: Timestamp,
    ) -> Result<Self, Unusable> {
        let mut kept = Self {
            rotation: Rotation {
                every: settings.rotate,
                overlap: settings.overlap,
            },
            life: Life::new(now),
            current: None,
            superseded: Vec::new(),
            name,
            file,
            path,
            settings,
        };
        let Some(earlier) = kept.file.earlier() else {
            // Whatever else is there, nobody can say whose it is.
            kept.file.clear()?;
            kept.make(tokens, now)?;
            return Ok(kept);
        };
        kept.file.renew(&earlier)?;
        for token in kept.file.superseded() {
            kept.superseded.push(kept.lease(tokens, &token.secret));
            kept.life.superseded.push(token.since);
        }
        kept.current = Some(kept.lease(tokens, &earlier.secret));
        kept.life.made = earlier.since;
        Ok(kept)
    }

    fn lease(&self, tokens: &Arc<Tokens>, secret: &Secret) -> Lease {
        tokens.lease(secret, Bearer::Token(self.name.clone()))
    }

    fn next(&self) -> Option<Timestamp> {
        self.rotation.next(&self.life)
    }

    fn look_after(&mut self, tokens: &Arc<Tokens>, now: Timestamp) -> Result<(), Unusable> {
        self.life.correct(now);
        let ended = self.rotation.ended(&self.life, now);
        if ended > 0 {
            self.superseded.drain(..ended);
            self.life.superseded.drain(..ended);
            let mut left = self.file.superseded();
            left.drain(..left.len().saturating_sub(self.superseded.len()));
            self.file.keep_superseded(&left, now)?;
        }
        if self.current.is_none() {
            return self.make(tokens, now);
        }
        if self.rotation.is_due(&self.life, now) {
            self.rotate(tokens, now)?;
            tracing::info!(token = %self.name, "rotated");
        }
        Ok(())
    }

    fn make(&mut self, tokens: &Arc<Tokens>, now: Timestamp) -> Result<(), Unusable> {
        let secret = self.file.make(now)?;
        self.current = Some(self.lease(tokens, &secret));
        self.life.made = now;
        Ok(())
    }

    /// The one before is written down first: a crash in between must not cost its overlap.
    fn rotate(&mut self, tokens: &Arc<Tokens>, now: Timestamp) -> Result<(), Unusable> {
        if let Some(Dated { secret, .. }) = self.file.earlier() {
            let mut superseded = self.file.superseded();
            superseded.push(Dated { secret, since: now });
            self.file.keep_superseded(&superseded, now)?;
        }
        let before = self.current.take();
        if let Err(error) = self.make(tokens, now) {
            self.current = before;
            return Err(error);
        }
        if let Some(before) = before {
            self.superseded.push(before);
            self.life.superseded.push(now);
        }
        let over = self.superseded.len().saturating_sub(MOST);
        self.superseded.drain(..over);
        self.life.superseded.drain(..over);
        Ok(())
    }

    /// Nothing is honoured any more before anything else is tried.
    fn revoke(&mut self, tokens: &Arc<Tokens>, now: Timestamp) -> Result<(), Unusable> {
        self.current = None;
        self.superseded.clear();
        self.life.superseded.clear();
        // A later run must not take them up again, whatever becomes of this one.
        let cleared = self.file.clear();
        self.make(tokens, now)?;
        cleared
    }

    fn report(&self, now: Timestamp) -> TokenReport {
        let due = self.rotation.due(&self.life);
        let superseded = self.life.superseded.last();
        let until = superseded.map(|last| self.rotation.end(*last));
        TokenReport {
            name: self.name.to_string(),
            file: self.path.display().to_string(),
            group: self.settings.group,
            mode: format!("{:04o}", self.settings.mode),
            made: self.life.made.to_string(),
            age_seconds: self.life.made.until(now).as_secs(),
            next_rotation: due.map(|due| due.to_string()),
            next_rotation_seconds: due.map(|due| now.until(due).as_secs()),
            previous_valid_until: until.map(|until| until.to_string()),
        }
    }
}
