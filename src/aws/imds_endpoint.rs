//! Which address the instance metadata service has.
//!
//! AWS SDKs and Tools Reference Guide, "IMDS credential provider".

use hyper::Uri;

/// Where settings come from, strongest first within each kind: an endpoint of any origin beats a
/// mode of any origin.
#[derive(Debug, Default)]
pub struct Settings<'a> {
    pub explicit_endpoint: Option<&'a str>,
    pub environment_endpoint: Option<&'a str>,
    pub profile_endpoint: Option<&'a str>,
    pub explicit_mode: Option<&'a str>,
    pub environment_mode: Option<&'a str>,
    pub profile_mode: Option<&'a str>,
}

const IPV4: &str = "http://169.254.169.254";
const IPV6: &str = "http://[fd00:ec2::254]";

/// The base URI, or what is wrong with the settings.
pub fn endpoint(settings: &Settings<'_>) -> Result<Uri, String> {
    let named = settings
        .explicit_endpoint
        .or(settings.environment_endpoint)
        .or(settings.profile_endpoint);
    let mode = settings
        .explicit_mode
        .or(settings.environment_mode)
        .or(settings.profile_mode);
    let text = match (named, mode) {
        (Some(text), _) => text,
        (None, None) => IPV4,
        (None, Some(mode)) if mode.eq_ignore_ascii_case("ipv4") => IPV4,
        (None, Some(mode)) if mode.eq_ignore_ascii_case("ipv6") => IPV6,
        (None, Some(mode)) => {
            return Err(format!(
                "`{mode}` is not a valid endpoint mode; say `IPv4` or `IPv6`"
            ));
        }
    };
    let uri: Uri = text
        .parse()
        .map_err(|error| format!("the instance metadata endpoint `{text}` is no URI: {error}"))?;
    if uri.scheme().is_none() || uri.host().is_none_or(str::is_empty) {
        return Err(format!(
            "the instance metadata endpoint `{text}` needs a scheme and a host, as in `{IPV4}`"
        ));
    }
    Ok(uri)
}

/// `path` below `base`.
pub fn below(base: &Uri, path: &str) -> String {
    format!("{}{path}", base.to_string().trim_end_matches('/'))
}
