//! A connection of any kind: one type, so that the HTTP client is compiled once.

use tokio::io::{AsyncRead, AsyncWrite};

pub(super) type Stream = Box<dyn Duplex>;

/// Both ways at once.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}
