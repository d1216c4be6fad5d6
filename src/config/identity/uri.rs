//! URIs that are asked, or that paths are added to.

use hyper::Uri;

use super::reader::Reader;
use crate::config::table::Text;

/// An absolute URI of http or https, without a user.
pub(super) fn absolute<'t>(reader: &mut Reader<'_, 't>, key: &str) -> Option<(Text<'t>, Uri)> {
    let text = reader.string(key, EXAMPLE)?;
    // A password or a token may stand there.
    if text.value.contains(['@', '?']) {
        reader.findings.hide(text.span.clone());
    }
    let hint = format!("as in `{EXAMPLE}`");
    let uri = reader.parsed(&text, &hint, |text| match text.parse::<Uri>() {
        Err(error) => Err(format!("not a URI: {error}")),
        Ok(uri) => match problem_of(&uri) {
            Some(problem) => Err(problem.to_owned()),
            None => Ok(uri),
        },
    })?;
    Some((text, uri))
}

/// The same, to whose end paths can be added.
pub(super) fn endpoint<'t>(reader: &mut Reader<'_, 't>, key: &str) -> Option<(Text<'t>, Uri)> {
    let (text, uri) = absolute(reader, key)?;
    if uri.query().is_some() {
        reader
            .findings
            .refuse(&text, "an endpoint has no query")
            .hint("remove what follows the `?`, and the `?`");
        return None;
    }
    Some((text, uri))
}

const EXAMPLE: &str = "http://127.0.0.1:8080/path";

fn problem_of(uri: &Uri) -> Option<&'static str> {
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Some("the URI needs the scheme `http` or `https`");
    }
    let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else {
        return Some("the URI names no host");
    };
    if host.is_empty() {
        return Some("the URI names no host");
    }
    if authority.as_str().contains('@') {
        return Some("the URI holds a user name, which is not sent");
    }
    // The port is read leniently: one that is no number is as good as none.
    let has_port = authority.as_str().len() > host.len();
    (has_port && uri.port_u16().is_none_or(|port| port == 0)).then_some("the URI's port is no port")
}
