//! The endpoints that the AWS SDKs check themselves by, and the partitions that they share, where
//! `CREDD_VECTORS` names the folder that holds them.

use std::path::PathBuf;

use credd::aws::region::{Partition, Region};
use credd::aws::service_endpoint::{EndpointSettings, Service, endpoint};
use credd::environment::Environment;
use credd::os::files;
use serde_json::Value;

use crate::support::news::tell;

#[test]
fn every_shared_case_of_sts_has_its_endpoint() {
    let Some(document) = document("sts/endpoint-tests-1.json") else {
        return;
    };
    let cases = document["testCases"].as_array().unwrap();
    for case in cases {
        let (wanted, expected) = (&case["params"], &case["expect"]);
        let is = |name: &str| wanted[name].as_bool().unwrap_or_default();
        let text = |name: &str| wanted[name].as_str().map(str::to_owned);
        let region = text("Region").map(|region| Region::parse(&region).unwrap());
        let settings = EndpointSettings {
            endpoint_url: text("Endpoint"),
            use_fips: is("UseFIPS"),
            use_dual_stack: is("UseDualStack"),
            is_legacy_global: is("UseGlobalEndpoint"),
            ..EndpointSettings::default()
        };
        match endpoint(Service::Sts, region.as_ref(), &settings) {
            Ok(found) => {
                let url = expected["endpoint"]["url"].as_str().expect("an error");
                assert_eq!(found.url.to_string(), format!("{url}/"), "{case}");
                let scheme = &expected["endpoint"]["properties"]["authSchemes"][0];
                let signing_region = scheme["signingRegion"].as_str();
                let region = wanted["Region"].as_str();
                let signing_region = signing_region.or(region).unwrap_or("us-east-1");
                assert_eq!(found.scope().region.as_str(), signing_region, "{case}");
            }
            Err(problem) => assert_eq!(expected["error"], problem.to_string(), "{case}"),
        }
    }
    assert_eq!(cases.len(), 69);
    tell(&format!("{} shared endpoints of sts passed", cases.len()));
}

#[test]
fn every_shared_region_is_in_its_partition() {
    let Some(document) = document("partitions.json") else {
        return;
    };
    let (mut regions, partitions) = (0, document["partitions"].as_array().unwrap());
    for partition in partitions {
        let (id, outputs) = (partition["id"].as_str().unwrap(), &partition["outputs"]);
        let found = Partition::named(id).expect(id);
        assert_eq!(outputs["dnsSuffix"], found.dns_suffix);
        assert_eq!(outputs["dualStackDnsSuffix"], found.dual_stack_dns_suffix);
        // Nothing in credd asks for these two: they hold for all.
        assert_eq!(outputs["supportsFIPS"], true);
        assert_eq!(outputs["supportsDualStack"], true);
        for region in partition["regions"].as_object().unwrap().keys() {
            assert_eq!(
                Region::parse(region).unwrap().partition(),
                found,
                "{region}"
            );
            regions += 1;
        }
        let usual = partition["regions"].get(found.usual_region.as_str());
        assert!(usual.is_some(), "{id}");
    }
    assert_eq!(partitions.len(), 8);
    tell(&format!(
        "{regions} shared regions in {} partitions passed",
        partitions.len()
    ));
}

fn document(file: &str) -> Option<Value> {
    /// Ten times the larger of the two files, so that a wrong path is noticed.
    const LARGEST: usize = 512 * 1024;
    let environment = Environment::of_process();
    let Some(folder) = environment.variable("CREDD_VECTORS").map(PathBuf::from) else {
        tell("skipped: CREDD_VECTORS does not name a folder of test vectors");
        return None;
    };
    let path = folder.join("endpoint-rules").join(file);
    let text = files::read_text_now(&path, LARGEST).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}
