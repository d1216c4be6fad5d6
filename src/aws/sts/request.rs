//! What STS is asked, and how that is written.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use zeroize::Zeroizing;

use crate::aws::arn::Arn;
use crate::aws::percent;
use crate::aws::service_endpoint::ServiceEndpoint;
use crate::secret::Secret;

/// An action and its parameters. [`limit`](super::limit) says what STS takes for them.
#[derive(Debug)]
pub enum Request {
    AssumeRole(AssumeRole),
    AssumeRoleWithWebIdentity(AssumeRoleWithWebIdentity),
    GetSessionToken(GetSessionToken),
    GetCallerIdentity,
    DecodeAuthorizationMessage(DecodeAuthorizationMessage),
}

pub struct AssumeRole {
    pub role_arn: Arn,
    pub role_session_name: String,
    /// An hour if absent.
    pub duration: Option<Duration>,
    pub external_id: Option<String>,
    /// A session policy, in JSON.
    pub policy: Option<String>,
    pub policy_arns: Vec<Arn>,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
    pub transitive_tag_keys: Vec<String>,
    pub source_identity: Option<String>,
    pub mfa: Option<Mfa>,
}

pub struct AssumeRoleWithWebIdentity {
    pub role_arn: Arn,
    pub role_session_name: String,
    pub web_identity_token: Secret,
    /// An hour if absent.
    pub duration: Option<Duration>,
    /// A session policy, in JSON.
    pub policy: Option<String>,
    pub policy_arns: Vec<Arn>,
}

#[derive(Debug)]
pub struct GetSessionToken {
    /// Twelve hours if absent.
    pub duration: Option<Duration>,
    pub mfa: Option<Mfa>,
}

#[derive(Debug)]
pub struct DecodeAuthorizationMessage {
    pub encoded_message: String,
}

/// An MFA device and its code of the moment, which AWS takes once.
#[derive(Debug)]
pub struct Mfa {
    pub serial_number: String,
    pub token_code: Secret,
}

/// Neither policies nor tags are printed: they are the operator's own affair.
impl fmt::Debug for AssumeRole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AssumeRole")
            .field("role_arn", &self.role_arn)
            .field("role_session_name", &self.role_session_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AssumeRoleWithWebIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AssumeRoleWithWebIdentity")
            .field("role_arn", &self.role_arn)
            .field("role_session_name", &self.role_session_name)
            .finish_non_exhaustive()
    }
}

impl Request {
    pub fn action(&self) -> &'static str {
        match self {
            Self::AssumeRole(_) => "AssumeRole",
            Self::AssumeRoleWithWebIdentity(_) => "AssumeRoleWithWebIdentity",
            Self::GetSessionToken(_) => "GetSessionToken",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::DecodeAuthorizationMessage(_) => "DecodeAuthorizationMessage",
        }
    }

    /// Whether it shows an MFA code, and so must not be sent twice.
    pub fn shows_mfa_code(&self) -> bool {
        match self {
            Self::AssumeRole(request) => request.mfa.is_some(),
            Self::GetSessionToken(request) => request.mfa.is_some(),
            _ => false,
        }
    }

    /// The role that is to be assumed, if one is.
    pub fn role_arn(&self) -> Option<&Arn> {
        match self {
            Self::AssumeRole(request) => Some(&request.role_arn),
            Self::AssumeRoleWithWebIdentity(request) => Some(&request.role_arn),
            _ => None,
        }
    }

    /// As it is sent to `endpoint`, but for the signature. The body is wiped with its last holder.
    pub fn http(&self, endpoint: &ServiceEndpoint) -> hyper::Request<Bytes> {
        let mut request = hyper::Request::new(Bytes::from_owner(self.form()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.url.clone();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, form);
        request
    }

    /// The body: `Action=AssumeRole&Version=2011-06-15&RoleArn=…`.
    pub fn form(&self) -> Zeroizing<Vec<u8>> {
        let mut parameters = Parameters(vec![
            ("Action".into(), self.action().into()),
            ("Version".into(), "2011-06-15".into()),
        ]);
        match self {
            Self::AssumeRole(request) => parameters.assume_role(request),
            Self::AssumeRoleWithWebIdentity(request) => parameters.web_identity(request),
            Self::GetSessionToken(GetSessionToken { duration, mfa }) => {
                parameters.duration(*duration);
                parameters.mfa(mfa.as_ref());
            }
            Self::GetCallerIdentity => {}
            Self::DecodeAuthorizationMessage(request) => {
                parameters.add("EncodedMessage", &request.encoded_message);
            }
        }
        parameters.encoded()
    }
}

/// Names, which need no encoding, and values, which are borrowed where they are secret.
struct Parameters<'a>(Vec<(Cow<'static, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    fn add(&mut self, name: &'static str, value: &'a str) {
        self.0.push((name.into(), value.into()));
    }

    fn add_if(&mut self, name: &'static str, value: Option<&'a String>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// `name.member.1suffix=…`, counting from 1.
    fn members(
        &mut self,
        name: &'static str,
        suffix: &'static str,
        values: impl Iterator<Item = &'a str>,
    ) {
        for (value, number) in values.zip(1..) {
            let name = format!("{name}.member.{number}{suffix}");
            self.0.push((name.into(), value.into()));
        }
    }

    fn duration(&mut self, duration: Option<Duration>) {
        if let Some(duration) = duration {
            let seconds = duration.as_secs().to_string();
            self.0.push(("DurationSeconds".into(), seconds.into()));
        }
    }

    fn mfa(&mut self, mfa: Option<&'a Mfa>) {
        if let Some(mfa) = mfa {
            self.add("SerialNumber", &mfa.serial_number);
            self.add("TokenCode", mfa.token_code.expose());
        }
    }

    fn policies(&mut self, policy: Option<&'a String>, arns: &'a [Arn]) {
        self.add_if("Policy", policy);
        self.members("PolicyArns", ".arn", arns.iter().map(Arn::as_str));
    }

    fn assume_role(&mut self, request: &'a AssumeRole) {
        self.add("RoleArn", request.role_arn.as_str());
        self.add("RoleSessionName", &request.role_session_name);
        self.duration(request.duration);
        self.policies(request.policy.as_ref(), &request.policy_arns);
        let (keys, values) = (
            request.tags.iter().map(|(key, _)| key.as_str()),
            request.tags.iter().map(|(_, value)| value.as_str()),
        );
        self.members("Tags", ".Key", keys);
        self.members("Tags", ".Value", values);
        let keys = request.transitive_tag_keys.iter().map(String::as_str);
        self.members("TransitiveTagKeys", "", keys);
        self.add_if("ExternalId", request.external_id.as_ref());
        self.mfa(request.mfa.as_ref());
        self.add_if("SourceIdentity", request.source_identity.as_ref());
    }

    fn web_identity(&mut self, request: &'a AssumeRoleWithWebIdentity) {
        self.add("RoleArn", request.role_arn.as_str());
        self.add("RoleSessionName", &request.role_session_name);
        self.add("WebIdentityToken", request.web_identity_token.expose());
        self.policies(request.policy.as_ref(), &request.policy_arns);
        self.duration(request.duration);
    }

    fn encoded(&self) -> Zeroizing<Vec<u8>> {
        // Room for all: a buffer that grows leaves unwiped copies behind.
        let most = |(name, value): &(Cow<'_, str>, Cow<'_, str>)| name.len() + 3 * value.len() + 2;
        let mut form = Zeroizing::new(Vec::with_capacity(self.0.iter().map(most).sum()));
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                form.push(b'&');
            }
            form.extend_from_slice(name.as_bytes());
            form.push(b'=');
            percent::encode(value.as_bytes(), b"", &mut form);
        }
        form
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::service_endpoint::{EndpointSettings, Service, endpoint};
    use proptest::prelude::*;

    fn role() -> Arn {
        Arn::parse("arn:aws:iam::123456789:role/integration-test").unwrap()
    }

    fn plain() -> AssumeRole {
        AssumeRole {
            role_arn: role(),
            role_session_name: "credd".to_owned(),
            duration: None,
            external_id: None,
            policy: None,
            policy_arns: Vec::new(),
            tags: Vec::new(),
            transitive_tag_keys: Vec::new(),
            source_identity: None,
            mfa: None,
        }
    }

    fn mfa() -> Mfa {
        Mfa {
            serial_number: "arn:aws:iam::1:mfa/a".to_owned(),
            token_code: Secret::from("123456".to_owned()),
        }
    }

    fn form(request: &Request) -> String {
        String::from_utf8(request.form().to_vec()).unwrap()
    }

    const ROLE: &str = "Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789%3Arole\
                        %2Fintegration-test&RoleSessionName=credd";

    #[test]
    fn a_role_is_asked_for_as_the_sdks_do() {
        let request = Request::AssumeRole(plain());
        assert_eq!(form(&request), format!("Action=AssumeRole&{ROLE}"));
        assert_eq!(request.role_arn(), Some(&role()));
    }

    #[test]
    fn every_parameter_of_a_role_has_its_name() {
        let request = Request::AssumeRole(AssumeRole {
            duration: Some(Duration::from_hours(1)),
            external_id: Some("a/b".to_owned()),
            policy: Some("{\"a\": 1}".to_owned()),
            policy_arns: vec![role(), role()],
            tags: vec![
                ("k1".to_owned(), "v 1".to_owned()),
                ("k2".to_owned(), String::new()),
            ],
            transitive_tag_keys: vec!["k1".to_owned()],
            source_identity: Some("ann".to_owned()),
            mfa: Some(mfa()),
            ..plain()
        });
        let arn = "arn%3Aaws%3Aiam%3A%3A123456789%3Arole%2Fintegration-test";
        let expected = [
            &format!("Action=AssumeRole&{ROLE}"),
            "DurationSeconds=3600",
            "Policy=%7B%22a%22%3A%201%7D",
            &format!("PolicyArns.member.1.arn={arn}"),
            &format!("PolicyArns.member.2.arn={arn}"),
            "Tags.member.1.Key=k1",
            "Tags.member.2.Key=k2",
            "Tags.member.1.Value=v%201",
            "Tags.member.2.Value=",
            "TransitiveTagKeys.member.1=k1",
            "ExternalId=a%2Fb",
            "SerialNumber=arn%3Aaws%3Aiam%3A%3A1%3Amfa%2Fa",
            "TokenCode=123456",
            "SourceIdentity=ann",
        ];
        assert_eq!(form(&request), expected.join("&"));
    }

    #[test]
    fn the_other_actions_have_their_parameters() {
        let request = Request::AssumeRoleWithWebIdentity(AssumeRoleWithWebIdentity {
            role_arn: role(),
            role_session_name: "credd".to_owned(),
            web_identity_token: Secret::from("a.b\n".to_owned()),
            duration: Some(Duration::from_mins(15)),
            policy: None,
            policy_arns: Vec::new(),
        });
        assert_eq!(
            form(&request),
            format!(
                "Action=AssumeRoleWithWebIdentity&{ROLE}&WebIdentityToken=a.b%0A&DurationSeconds=900"
            )
        );
        let request = Request::GetSessionToken(GetSessionToken {
            duration: Some(Duration::from_hours(12)),
            mfa: Some(mfa()),
        });
        assert_eq!(
            form(&request),
            "Action=GetSessionToken&Version=2011-06-15&DurationSeconds=43200\
             &SerialNumber=arn%3Aaws%3Aiam%3A%3A1%3Amfa%2Fa&TokenCode=123456"
        );
        assert_eq!(
            form(&Request::GetCallerIdentity),
            "Action=GetCallerIdentity&Version=2011-06-15"
        );
        let request = Request::DecodeAuthorizationMessage(DecodeAuthorizationMessage {
            encoded_message: "a+b".to_owned(),
        });
        assert_eq!(
            form(&request),
            "Action=DecodeAuthorizationMessage&Version=2011-06-15&EncodedMessage=a%2Bb"
        );
    }

    #[test]
    fn it_is_posted_as_a_form() {
        let settings = EndpointSettings::default();
        let region = settings.region_for(None);
        let endpoint = endpoint(Service::Sts, Some(&region), &settings).unwrap();
        let request = Request::GetCallerIdentity.http(&endpoint);
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "https://sts.us-east-1.amazonaws.com/");
        assert_eq!(
            request.headers()[CONTENT_TYPE],
            "application/x-www-form-urlencoded"
        );
        assert_eq!(**request.body(), **Request::GetCallerIdentity.form());
    }

    #[test]
    fn a_printed_request_shows_no_policy_code_or_token() {
        let secret = || "CANARY".to_owned();
        let requests = [
            Request::AssumeRole(AssumeRole {
                external_id: Some(secret()),
                policy: Some(secret()),
                tags: vec![(secret(), secret())],
                mfa: Some(Mfa {
                    token_code: Secret::from(secret()),
                    ..mfa()
                }),
                ..plain()
            }),
            Request::AssumeRoleWithWebIdentity(AssumeRoleWithWebIdentity {
                role_arn: role(),
                role_session_name: "credd".to_owned(),
                web_identity_token: Secret::from(secret()),
                duration: None,
                policy: Some(secret()),
                policy_arns: Vec::new(),
            }),
            Request::GetSessionToken(GetSessionToken {
                duration: None,
                mfa: Some(Mfa {
                    token_code: Secret::from(secret()),
                    ..mfa()
                }),
            }),
        ];
        for request in requests {
            let printed = format!("{request:?}");
            assert!(!printed.contains("CANARY"), "{printed}");
        }
    }

    proptest! {
        #[test]
        fn no_value_can_add_a_parameter_or_outgrow_the_room(value in "\\PC{0,40}|[&=%+\n]{0,9}") {
            let request = Request::AssumeRole(AssumeRole {
                external_id: Some(value.clone()),
                policy: Some(value),
                ..plain()
            });
            let form = request.form();
            let text = std::str::from_utf8(&form).unwrap();
            prop_assert_eq!(text.split('&').count(), 6);
            prop_assert!(text.split('&').all(|it| it.matches('=').count() == 1));
        }
    }
}
