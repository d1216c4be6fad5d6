//! An endpoint in the place of EC2's instance metadata service, version 2 only, for programs that
//! know no other.
//!
//! | route | answers |
//! |---|---|
//! | `PUT /latest/api/token` | a session token, without which nothing else is answered |
//! | `GET /latest/meta-data/iam/security-credentials/` | the caller's identity, as a role's name |
//! | `GET /latest/meta-data/iam/security-credentials/<identity>` | its credentials |
//! | the same with `security-credentials-extended` | with the account id |
//! | `GET /latest/meta-data/iam/info` | when they were made |
//! | `GET /latest/meta-data/placement/region` | the region of the config |
//! | `GET /latest/dynamic/instance-identity/document` | the region and the account id |
//!
//! A session token is no proof of who asks: rules decide, at each request.

mod page;
mod route;
mod token;

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::json;

use self::route::{Route, Shape};
use self::token::Sealer;
use super::guard::{self, Hosts, Methods};
use super::handing_out::Patience;
use super::terms::Visit;
use super::trail::Granted;
use super::{Body, Endpoint, ImdsTerms, Peer, Refusal, Responding, Site};
use crate::authz::Presented;
use crate::aws::formats;
use crate::clock::Timestamp;
use crate::identity::IdentityName;
use crate::random;
use crate::refresh::Snapshot;

const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// The longest life of a session token, in seconds (EC2 User Guide, "Use the Instance Metadata
/// Service").
const LONGEST_TTL: u32 = 21_600;

/// What stands in for instance metadata.
#[derive(Debug)]
pub struct Imds {
    site: Arc<Site>,
    sealer: Sealer,
}

impl Imds {
    /// Whoever has a token that was sealed with `key` is let in with it.
    pub fn new(site: Arc<Site>, key: &[u8; token::KEY]) -> Self {
        Self {
            site,
            sealer: Sealer::new(key),
        }
    }
}

impl Endpoint for Imds {
    fn respond(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Responding {
        Box::pin(async move {
            let visit = self.site.visit();
            // A reload has taken the endpoint away, and this connection ends.
            let Some(terms) = &visit.terms.imds else {
                return page::refused(Refusal::warming());
            };
            let asking = Asking {
                visit: &visit,
                terms,
                peer: &peer,
                headers: request.headers(),
            };
            let outcome = self.answer(&request, asking).await;
            outcome.unwrap_or_else(page::refused)
        })
    }
}

/// Who asks, and how.
#[derive(Clone, Copy)]
struct Asking<'a> {
    visit: &'a Visit<'a>,
    terms: &'a ImdsTerms,
    peer: &'a Peer,
    headers: &'a HeaderMap,
}

impl Asking<'_> {
    /// The user that a token is bound to.
    fn holder(self) -> Option<u32> {
        self.peer.connected().user.as_ref().map(|user| user.uid)
    }

    fn admit(self) -> Result<(), Refusal> {
        let admitted = self
            .visit
            .admit_presenting(self.peer, self.headers, &Presented::Nothing);
        admitted.map_err(|refusal| Refusal {
            message: "no rule of credd's config admits this program to its instance metadata, \
                      which takes one with tcp = \"without-token\"; which came nearest is in \
                      credd's log"
                .into(),
            ..refusal
        })
    }

    /// The state of the identity that the caller's role stands for, and the name of that.
    fn own(self) -> Option<(Granted, Arc<Snapshot>)> {
        let asked = self.terms.identity.as_ref().map(IdentityName::as_str);
        let granted = self.granted(asked)?;
        let snapshot = Arc::clone(&self.visit.reader(&granted).ok()?.load());
        Some((granted, snapshot))
    }

    /// What the caller gets of what it asks for; to EC2's clients everything else is not there.
    fn granted(self, asked: Option<&str>) -> Option<Granted> {
        let decision = self
            .visit
            .decide(self.peer, self.headers, Presented::nothing(), asked);
        decision.ok()
    }
}

impl Imds {
    async fn answer(
        &self,
        request: &Request<Incoming>,
        asking: Asking<'_>,
    ) -> Result<Response<Body>, Refusal> {
        let refused = |refusal| {
            let caller = asking.peer.connected();
            self.site.refused(caller, asking.headers, refusal)
        };
        let checked = guard::check_at(
            request,
            Methods::ReadAndPut,
            Hosts::Only(&asking.terms.hosts),
        );
        if let Err(refusal) = checked.map_err(refused) {
            return match refusal.code {
                "MethodNotAllowed" => Ok(page::method_not_allowed("GET, HEAD, PUT")),
                _ => Err(refusal),
            };
        }
        let route = Route::parse(request.uri().path());
        if request.method() == Method::PUT {
            if route == Some(Route::Token) {
                return self.token(asking);
            }
            let message = "only /latest/api/token is put to";
            return Err(refused(Refusal::forbidden("AccessDenied", message)));
        }
        self.check_token(asking).map_err(refused)?;
        // At each request, whatever was decided when the token was given.
        asking.admit()?;
        let answer = match route {
            Some(Route::Token) => return Ok(page::method_not_allowed("PUT")),
            Some(Route::Role) => role(asking),
            Some(Route::Credentials(name, shape)) => self.credentials(asking, name, shape).await?,
            Some(Route::Info) => self.info(asking),
            Some(Route::Region) => region(asking),
            Some(Route::Document) => identity_document(asking),
            Some(Route::Index(folder)) => {
                let listing = folder.listing(asking.terms.region.is_some());
                listing.map(page::text)
            }
            None => None,
        };
        Ok(answer.unwrap_or_else(|| page::bare(StatusCode::NOT_FOUND)))
    }

    fn token(&self, asking: Asking<'_>) -> Result<Response<Body>, Refusal> {
        asking.admit()?;
        let ttl = ttl(asking.headers).ok_or(Refusal {
            status: StatusCode::BAD_REQUEST,
            code: "BadRequest",
            message: "a token needs one header X-aws-ec2-metadata-token-ttl-seconds, from 1 to \
                      21600"
                .into(),
            request: None,
        })?;
        let ends = self
            .site
            .clock
            .boot()
            .after(Duration::from_secs(ttl.into()));
        let token = self.sealer.seal(asking.holder(), ends, random::bytes());
        let mut response = page::text(token);
        // The Go SDK takes no token without it.
        response
            .headers_mut()
            .insert(TTL_HEADER, HeaderValue::from(ttl));
        Ok(response)
    }

    /// Two tokens are none: which of them counts would be anybody's guess.
    fn check_token(&self, asking: Asking<'_>) -> Result<(), Refusal> {
        let token = only(asking.headers, TOKEN_HEADER);
        let is_valid = token.is_some_and(|token| {
            let now = self.site.clock.boot();
            self.sealer.is_valid(token.as_bytes(), asking.holder(), now)
        });
        if is_valid {
            return Ok(());
        }
        Err(Refusal {
            status: StatusCode::UNAUTHORIZED,
            code: "Unauthorized",
            message: "no session token, or none that is valid now and for this caller".into(),
            request: None,
        })
    }

    /// EC2 says why there are no credentials in a 200 of another `Code`, which Go and Rust show to
    /// their users and no SDK asks for again. What may pass is a 503, which is asked for again.
    async fn credentials(
        &self,
        asking: Asking<'_>,
        name: &str,
        shape: Shape,
    ) -> Result<Option<Response<Body>>, Refusal> {
        let mut patience = Patience::default();
        let (granted, served) = loop {
            let visit = self.site.visit();
            let asking = Asking {
                visit: &visit,
                ..asking
            };
            let Some(granted) = asking.granted(Some(name)) else {
                return Ok(None);
            };
            match visit.look(&granted) {
                Ok(Some(served)) => break (granted, served),
                Ok(None) => visit.wait(&granted, &mut patience).await?,
                Err(refusal) if refusal.status == StatusCode::FORBIDDEN => {
                    return Ok(Some(document(&json!({
                        "Code": refusal.code,
                        "Message": refusal.message,
                        "LastUpdated": self.site.clock.now().to_string(),
                    }))));
                }
                Err(refusal) => return Err(refusal),
            }
        };
        let updated = self.updated(&served.snapshot);
        let body = formats::instance_metadata(&served.body, updated, shape == Shape::Extended);
        let body = body.ok_or_else(Refusal::warming)?;
        let held = served.snapshot.held.as_ref();
        self.site
            .record_grant(served.at, &granted, asking.headers, Some(name), held);
        Ok(Some(page::text(body)))
    }

    /// Without an instance profile, of which credd knows none.
    fn info(&self, asking: Asking<'_>) -> Option<Response<Body>> {
        let (_, snapshot) = asking.own()?;
        Some(document(&json!({
            "Code": "Success",
            "LastUpdated": self.updated(&snapshot).to_string(),
        })))
    }

    /// When the set in hand was made.
    fn updated(&self, snapshot: &Snapshot) -> Timestamp {
        let held = snapshot.held.as_ref();
        let made = held.map(|held| held.issued.unwrap_or(held.obtained));
        made.unwrap_or_else(|| self.site.clock.now())
    }
}

fn role(asking: Asking<'_>) -> Option<Response<Body>> {
    let (granted, _) = asking.own()?;
    Some(page::text(granted.grant.identity().as_str().to_owned()))
}

/// What SDKs read it for, and nothing that would have to be made up.
fn identity_document(asking: Asking<'_>) -> Option<Response<Body>> {
    let region = asking.terms.region.as_ref()?;
    let own = asking.own();
    let held = own
        .as_ref()
        .and_then(|(_, snapshot)| snapshot.held.as_ref());
    let account_id = held.and_then(|held| held.credentials().account_id.as_deref());
    let mut facts = json!({ "region": region.as_str(), "version": DOCUMENT_VERSION });
    if let Some(account_id) = account_id {
        facts["accountId"] = account_id.into();
    }
    Some(document(&facts))
}

fn region(asking: Asking<'_>) -> Option<Response<Body>> {
    let region = asking.terms.region.as_ref()?;
    Some(page::text(region.as_str().to_owned()))
}

/// Of the form of the instance identity document (EC2 User Guide, "Instance identity documents").
const DOCUMENT_VERSION: &str = "2017-09-30";

/// A field to a line, as EC2 writes them, for scripts that read lines.
fn document(fields: &serde_json::Value) -> Response<Body> {
    page::text(format!("{fields:#}"))
}

fn ttl(headers: &HeaderMap) -> Option<u32> {
    let text = only(headers, TTL_HEADER)?.to_str().ok()?;
    let ttl = text.bytes().all(|byte| byte.is_ascii_digit());
    let ttl: u32 = ttl.then(|| text.parse().ok())??;
    (1..=LONGEST_TTL).contains(&ttl).then_some(ttl)
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| {
            let value = HeaderValue::from_str(value).unwrap();
            (TTL_HEADER.parse().unwrap(), value)
        });
        values.collect()
    }

    #[test]
    fn a_token_lives_for_1_to_21600_seconds() {
        for (text, seconds) in [("1", 1), ("300", 300), ("21600", 21_600), ("0060", 60)] {
            assert_eq!(ttl(&headers(&[text])), Some(seconds), "{text}");
        }
        for text in [
            "",
            "0",
            "21601",
            "-1",
            "+60",
            "6e1",
            "60.0",
            "0x3c",
            "sixty",
            "60 ",
            "60s",
            "4294967297",
            "99999999999999999999",
        ] {
            assert_eq!(ttl(&headers(&[text])), None, "{text}");
        }
        assert_eq!(ttl(&headers(&[])), None);
        assert_eq!(ttl(&headers(&["60", "60"])), None);
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_of_lifetimes_panic(text in "[ -~]{0,40}") {
            let ttl = ttl(&headers(&[&text]));
            prop_assert!(ttl.is_none_or(|ttl| (1..=LONGEST_TTL).contains(&ttl)));
        }
    }
}
