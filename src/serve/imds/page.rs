//! Answers in the form of EC2's: plain text, and pages of XHTML for all that is not 200.

use bytes::Bytes;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};

use crate::serve::refusal::RETRY_IN;
use crate::serve::{Body, Refusal, whole};

/// Credentials and documents too: EC2 calls none of them JSON.
pub(super) fn text(body: impl Into<Bytes>) -> Response<Body> {
    typed(StatusCode::OK, "text/plain", body.into())
}

/// EC2's own page where there is nothing to add: no client reads more than the status.
pub(super) fn bare(status: StatusCode) -> Response<Body> {
    page(status, "")
}

/// A page that says what to do, for the person who reads it.
pub(super) fn refused(refusal: &Refusal) -> Response<Body> {
    let mut response = page(refusal.status, &refusal.message);
    let headers = response.headers_mut();
    match refusal.status {
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_IN.as_secs()));
        }
        // As everywhere: a stranger keeps no place, and what follows a refusal is not read.
        StatusCode::FORBIDDEN => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
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

fn page(status: StatusCode, message: &str) -> Response<Body> {
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
    typed(status, "text/html", page.into())
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
