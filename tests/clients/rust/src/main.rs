//! The AWS SDK for Rust as a client: one fetch for each line on standard input, answered by a line
//! with the access key id, and with `region` the region too, or with the error.

use std::error::Error;

use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let provider = config
        .credentials_provider()
        .ok_or("no default credentials chain")?;
    let is_region_wanted = std::env::args().any(|argument| argument == "region");
    for line in std::io::stdin().lines() {
        line?;
        match provider.provide_credentials().await {
            Ok(credentials) if is_region_wanted => {
                let region = config.region().ok_or("no region")?;
                println!("{} {region}", credentials.access_key_id());
            }
            Ok(credentials) => println!("{}", credentials.access_key_id()),
            Err(error) => println!("error: {}", with_causes(&error)),
        }
    }
    Ok(())
}

fn with_causes(error: &dyn Error) -> String {
    let cause = error.source().map(with_causes);
    cause.map_or(error.to_string(), |cause| format!("{error}: {cause}"))
}
