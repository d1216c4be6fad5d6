//! TLS towards https sources, with roots read on first use.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use super::Stage;
use super::stream::Stream;

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Roots {
    /// The host's certificate store, or the compiled-in Mozilla roots where an image has none.
    System,
    /// A PEM file, as `AWS_CA_BUNDLE` names one; nothing else is trusted then.
    File(PathBuf),
}

/// A TLS client whose roots are parsed when first needed, and once: most hosts never need them, and
/// the 144 roots of a Debian bundle cost 2 ms and 320 KiB.
#[derive(Debug, Default)]
pub(super) struct Tls {
    configs: Mutex<HashMap<Roots, Arc<OnceCell<Arc<ClientConfig>>>>>,
}

impl Tls {
    pub(super) async fn connect(
        &self,
        roots: &Roots,
        host: &str,
        stream: Stream,
    ) -> Result<Stream, Stage> {
        let config = {
            let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(configs.entry(roots.clone()).or_default())
        };
        let config = config.get_or_try_init(|| load(roots.clone())).await?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Stage::Url)?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, stream).await.map_err(Stage::Tls)?;
        Ok(Box::new(stream))
    }
}

async fn load(roots: Roots) -> Result<Arc<ClientConfig>, Stage> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let store = tokio::task::spawn_blocking(move || store(&roots))
        .await
        .map_err(|error| Stage::Roots(error.to_string()))?
        .map_err(|error| Stage::Roots(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Stage::Roots(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn store(roots: &Roots) -> io::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::File(path) => {
            let problem = |error| io::Error::other(format!("{}: {error}", path.display()));
            let certificates = CertificateDer::pem_file_iter(path).map_err(problem)?;
            for certificate in certificates {
                store
                    .add(certificate.map_err(problem)?)
                    .map_err(io::Error::other)?;
            }
            if store.is_empty() {
                let problem = format!("{} holds no certificate", path.display());
                return Err(io::Error::other(problem));
            }
        }
        Roots::System => {
            // A host's bundle may hold a certificate or two that nothing can parse.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                let roots = store.len();
                tracing::debug!(
                    roots,
                    "this host has no certificate store: using Mozilla's roots"
                );
            }
        }
    }
    Ok(store)
}
