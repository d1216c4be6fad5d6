//! The environment in which an SDK finds credd, and nothing that outranks it.

/// Where an SDK fetches credentials.
pub(super) const FULL_URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
/// The token itself, for programs that credd starts.
pub(super) const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
/// The file that the token is read from at each fetch.
pub(super) const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
/// The files in which SDKs look for keys, botocore also for those of boto2.
pub(super) const FILES: [&str; 3] = [
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "BOTO_CONFIG",
];

/// What comes before the container endpoint in some SDK's chain, or changes what the endpoint
/// variables mean.
pub(super) const OUTRANKING: [&str; 16] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_ACCOUNT_ID",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CREDENTIAL_FILE",
    // Older names of the keys: boto2, Go.
    "AWS_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "SECRET_ACCESS_KEY",
];
