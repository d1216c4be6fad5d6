//! Answers in the form of EC2's: plain text, and pages of XHTML for all that is not 200.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::serve::{Body, Refusal, whole};

/// Credentials and documents too: EC2 calls none of them JSON.
pub(super) fn text(body: impl Into<Bytes>) -> Response<Body> {
    typed(StatusCode::OK, "text/plain", body.into())
}

/// EC2's own page, where there is nothing to add: clients read the status alone.
pub(super) fn bare(status: StatusCode) -> Response<Body> {
    typed(status, "text/html", page(status, ""))
}

/// A page that says what to do, for the person who reads it.
pub(super) fn refused(refusal: Refusal) -> Response<Body> {
    let is_bare = [StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND].contains(&refusal.status);
    let message = if is_bare { "" } else { &refusal.message };
    let page = page(refusal.status, message);
    let mut response = refusal.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    *response.body_mut() = Either::Left(Full::new(page));
    response
}

pub(super) fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(allowed));
    // What follows may be a body.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn page(status: StatusCode, message: &str) -> Bytes {
    let code = status.as_u16();
    let reason = status.canonical_reason().unwrap_or_default();
    let paragraph = if message.is_empty() {
        String::new()
    } else {
        format!("  <p>{}</p>\n", escaped(message))
    };
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n\
         <!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n\
         \t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n\
         <html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n \
         <head>\n  <title>{code} - {reason}</title>\n </head>\n \
         <body>\n  <h1>{code} - {reason}</h1>\n{paragraph} </body>\n</html>\n"
    );
    page.into()
}

fn typed(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = whole(status, body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_adds_no_element_to_a_page() {
        assert_eq!(
            escaped("<a href=\"x\"> & 'b'"),
            "&lt;a href=\"x\"&gt; &amp; 'b'"
        );
    }
}
