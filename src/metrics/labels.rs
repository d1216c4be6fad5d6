//! The closed sets that labels take their values from.

use crate::credentials::FailureClass;

/// A value of a label.
pub trait Label: Copy + Eq + 'static {
    /// In the order of the page; the most frequent is found soonest if it is first.
    const ALL: &'static [Self];

    fn as_str(self) -> &'static str;
}

/// Declares a set: its values, and what each is called.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of])* $value,)*
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$value,)*];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }
    };
}

label! {
    /// Who is asked for credentials, over HTTP.
    Service {
        Sts = "sts",
        Imds = "imds",
        Container = "container",
    }
}

label! {
    /// What is known of a caller who is denied.
    CallerKind {
        /// By the kernel, on a Unix socket.
        Unix = "unix",
        /// By a valid token.
        Token = "token",
        /// By the kernel, on loopback TCP.
        TcpUser = "tcp-user",
        /// Nothing.
        Unknown = "unknown",
    }
}

label! {
    /// Why.
    DenialReason {
        Stranger = "stranger",
        NoToken = "no-token",
        UnknownToken = "unknown-token",
        OtherIdentity = "other-identity",
        NoIdentityNamed = "no-identity-named",
        UnknownIdentity = "unknown-identity",
        CallerGone = "caller-gone",
        /// By what the request is, whoever it came from: a proxy's, a browser's, another host's.
        Request = "request",
    }
}

label! {
    /// What came of reading the config anew.
    ReloadOutcome {
        Applied = "applied",
        /// The one before stays in force.
        Refused = "refused",
    }
}

label! {
    /// The status of an answer.
    Code {
        Ok = "200",
        BadRequest = "400",
        Unauthorized = "401",
        Forbidden = "403",
        NotFound = "404",
        MethodNotAllowed = "405",
        ContentTooLarge = "413",
        TooManyRequests = "429",
        ServiceUnavailable = "503",
        Other = "other",
    }
}

impl Code {
    pub fn of(status: u16) -> Self {
        match status {
            200 => Self::Ok,
            400 => Self::BadRequest,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            413 => Self::ContentTooLarge,
            429 => Self::TooManyRequests,
            503 => Self::ServiceUnavailable,
            _ => Self::Other,
        }
    }
}

impl Label for FailureClass {
    const ALL: &'static [Self] = &[
        Self::Transient,
        Self::Throttled,
        Self::Denied,
        Self::Misconfigured,
        Self::NeedsPerson,
    ];

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_its_own_name_or_none() {
        for status in 100..600 {
            let name = Code::of(status).as_str();
            assert!(name == status.to_string() || name == "other", "{status}");
        }
        assert_eq!(Code::of(200).as_str(), "200");
    }
}
