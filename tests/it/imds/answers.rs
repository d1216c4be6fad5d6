//! What is answered to whoever has a token and a rule.

use super::*;

#[test]
fn the_list_of_roles_is_the_name_of_the_callers_identity() {
    let instance = Instance::new();
    for path in [
        ROLE,
        EXTENDED,
        ROLE.trim_end_matches('/'),
        EXTENDED.trim_end_matches('/'),
    ] {
        let reply = instance.get(path);
        assert_eq!((reply.status, text(&reply)), (200, "default"), "{path}");
        assert_eq!(reply.header("content-type"), Some("text/plain"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn credentials_are_those_of_ec2_field_by_field() {
    let instance = Instance::new();
    let expiry = instance.clock.now().plus(LIFETIME).to_string();
    let made = instance.clock.now().to_string();
    let fields = |last: &str| {
        format!(
            "{{\n  \"Code\": \"Success\",\n  \"LastUpdated\": \"{made}\",\n  \
             \"Type\": \"AWS-HMAC\",\n  \"AccessKeyId\": \"{}\",\n  \
             \"SecretAccessKey\": \"{}\",\n  \"Token\": \"{}\",\n  \
             \"Expiration\": \"{expiry}\"{last}\n}}",
            upstream::KEY,
            upstream::SECRET,
            upstream::TOKEN
        )
    };
    let legacy = instance.get(&format!("{ROLE}default"));
    assert_eq!((legacy.status, text(&legacy)), (200, fields("").as_str()));
    assert_eq!(legacy.header("content-type"), Some("text/plain"));
    let account = format!(",\n  \"AccountId\": \"{}\"", upstream::ACCOUNT);
    let extended = instance.get(&format!("{EXTENDED}default"));
    assert_eq!(text(&extended), fields(&account));
}

#[test]
fn the_region_is_that_of_the_config() {
    let instance = Instance::new();
    assert_eq!(text(&instance.get(REGION)), "eu-west-1");
    let document = instance.get(DOCUMENT).json();
    let expected = serde_json::json!({
        "accountId": upstream::ACCOUNT,
        "region": "eu-west-1",
        "version": "2017-09-30",
    });
    assert_eq!(document, expected);
}

#[test]
fn nothing_is_made_up() {
    let instance = Instance::told(&Told {
        region: None,
        ..Told::default()
    });
    for path in [
        REGION,
        DOCUMENT,
        "/latest/meta-data/placement/availability-zone",
        "/latest/meta-data/placement/",
        "/latest/dynamic/",
        "/latest/meta-data/instance-id",
        "/latest/user-data",
        "/latest/dynamic/instance-identity/signature",
        "/1.0/meta-data/",
        "/2021-07-15/meta-data/iam/security-credentials/default",
        "/v1/credentials",
        "/v1/credentials/default",
        "/v1/endpoint",
    ] {
        let reply = instance.get(path);
        assert_eq!(reply.status, 404, "{path}");
        assert_eq!(reply.header("content-type"), Some("text/html"));
        assert!(text(&reply).contains("<title>404 - Not Found</title>"));
    }
    let info = instance.get("/latest/meta-data/iam/info").json();
    let keys: Vec<_> = info.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["Code", "LastUpdated"]);
}

#[test]
fn whatever_an_index_lists_is_answered() {
    let instance = Instance::new();
    let token = shown(&instance.token());
    let mut paths = vec!["/".to_owned()];
    let mut answered = 0;
    while let Some(path) = paths.pop() {
        let reply = instance.ask("GET", &path, &token);
        assert_eq!(reply.status, 200, "{path}");
        answered += 1;
        let is_listing = path.ends_with('/')
            || ["/latest", "dynamic", "meta-data"]
                .iter()
                .any(|it| path.ends_with(it));
        if is_listing && !path.contains("security-credentials") {
            let path = path.trim_end_matches('/');
            paths.extend(text(&reply).lines().map(|entry| format!("{path}/{entry}")));
        }
    }
    assert_eq!(answered, 12);
}

#[test]
fn head_gets_the_headers_of_get_and_no_body() {
    let instance = Instance::new();
    let token = shown(&instance.token());
    let path = format!("{ROLE}default");
    let (get, head) = (
        instance.ask("GET", &path, &token),
        instance.ask("HEAD", &path, &token),
    );
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), get.header("content-length"));
}

#[test]
fn other_methods_are_told_which_there_are() {
    let instance = Instance::new();
    let token = shown(&instance.token());
    for method in [
        "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "put", "get", "X",
    ] {
        for path in [ROLE, TOKEN, "/"] {
            let reply = instance.ask(method, path, &token);
            assert_eq!(reply.status, 405, "{method} {path}");
            assert_eq!(reply.header("allow"), Some("GET, HEAD, PUT"));
            assert_eq!(reply.header("connection"), Some("close"));
            assert!(!is_leaking(&reply));
        }
    }
}
