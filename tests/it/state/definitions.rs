//! What was kept is served where an identity still means the same, and nowhere else.

use super::*;
use crate::commands::aws::beside_aws;
use crate::support::fake_aws::Call;

/// What a change of the host between two runs costs in calls to AWS.
#[track_caller]
fn changed(change: impl Fn(&Service<'_>, &mut Command) + Send + 'static) -> Vec<(Call, usize)> {
    let (tell, told) = std::sync::mpsc::channel();
    beside_aws(move |aws| {
        let service = Service::new(aws);
        let mut daemon = service.settle();
        let before = service.sets();
        daemon.kill();
        let calls = [Call::GetSessionToken, Call::AssumeRole];
        let counted = calls.map(|call| aws.count(call));
        let mut command = service.command();
        change(&service, &mut command);
        let _daemon = service.place.serving(&mut service.manager.start(&command));
        let after = service.sets();
        assert_eq!(service.place.challenges(), 0);
        let made = calls.iter().zip(counted);
        let made = made.map(|(&call, before)| (call, aws.count(call) - before));
        let made: Vec<_> = made.filter(|(_, count)| *count > 0).collect();
        let renewed = NAMES.iter().filter(|name| before[*name] != after[*name]);
        let count: usize = made.iter().map(|(_, count)| count).sum();
        assert_eq!(renewed.count(), count);
        tell.send(made).unwrap();
    });
    told.recv().unwrap()
}

fn rewrite(service: &Service<'_>, from: &str, to: &str) {
    let config = files::read_text_now(&service.place.config(), 64 * 1024).unwrap();
    assert!(config.contains(from));
    let config = config.replace(from, to);
    files::write_private(&service.place.config(), config.as_bytes()).unwrap();
}

#[test]
fn nothing_is_asked_for_where_nothing_has_changed() {
    assert_eq!(changed(|_, _| {}), []);
    // What has no say in who anybody is.
    let made = changed(|service, command| {
        command.env("CREDD_LOG", "debug").env("LANG", "C");
        configure(
            &service.place,
            "[[allow]]\ncaller = { user = \"root\" }\nidentity = [\"billing\"]\n",
        );
    });
    assert_eq!(made, []);
}

#[test]
fn another_role_is_assumed_and_nothing_else_is_done() {
    let made = changed(|service, _| rewrite(service, BILLING, DEPLOY));
    assert_eq!(made, [(Call::AssumeRole, 1)]);
}

#[test]
fn another_lifetime_of_a_role_is_asked_for() {
    let made = changed(|service, _| {
        let key = format!("role-arn = \"{BILLING}\"");
        rewrite(service, &key, &format!("{key}\nlifetime = \"30m\""));
    });
    assert_eq!(made, [(Call::AssumeRole, 1)]);
}

#[test]
fn a_profile_file_that_was_edited_is_read_anew() {
    let made = changed(|service, _| {
        let other = "arn:aws:iam::123456789012:role/other";
        service.aws.role(Role::new(other).trusting(FILED));
        profiles(&service.place, other);
    });
    assert_eq!(made, [(Call::AssumeRole, 1)]);
}

#[test]
fn other_keys_in_the_environment_make_another_session() {
    let made = changed(|service, command| {
        service.aws.user("AKIAFAKEUSER0003", "CANARY-other", OPS);
        command
            .env("AWS_ACCESS_KEY_ID", "AKIAFAKEUSER0003")
            .env("AWS_SECRET_ACCESS_KEY", "CANARY-other");
    });
    // AWS's variables may mean anything to anyone; but a code is not asked for again.
    assert_eq!(made, [(Call::GetSessionToken, 1), (Call::AssumeRole, 2)]);
}

#[test]
fn other_keys_of_a_user_cost_a_code_as_they_must() {
    beside_aws(|aws| {
        let service = Service::new(aws);
        service.settle().kill();
        aws.user("AKIAFAKEUSER0004", "CANARY-changed", OPS);
        rewrite(&service, crate::commands::aws::OPS_KEY, "AKIAFAKEUSER0004");
        let secret = service.place.folder().join("secret");
        files::write_private(&secret, b"CANARY-changed").unwrap();
        aws.mfa_codes(SERIAL, &["222222"]);
        let _daemon = service.start();
        service.place.answer("222222");
        service.sets();
    });
}
