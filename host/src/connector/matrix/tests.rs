use super::*;

fn check(text: &str) -> Result<MatrixConfig, String> {
    // Not its `Display`: that repeats the line of the file, and with it a secret.
    let table = toml::Deserializer::parse(text).unwrap();
    MatrixConfig::deserialize(table).map_err(|error| error.message().to_owned())
}

const SYNC: &str = "homeserver = \"https://m.org\"\n";
const PUSH: &str =
    "homeserver = \"https://m.org\"\nmode = \"appservice\"\nas_token = \"as-s3cret\"\nhs_token = \"hs-s3cret\"\n";

#[test]
fn a_table_says_how_to_sign_in_or_what_the_registration_has() {
    let token = check(&format!("{SYNC}access_token = \"s3cret\"")).unwrap();
    assert_eq!(token.mode, Mode::Sync(Login::Token(Secret::new("s3cret"))));
    assert_eq!((token.sync_timeout.as_secs(), token.stall_timeout.as_secs(), token.invites), (30, 45, Invites::None));
    let password = check(&format!("{SYNC}user = \"bot\"\npassword = \"s3cret\"\ndevice_id = \"D\"")).unwrap();
    assert!(matches!(&password.mode, Mode::Sync(Login::Password { user, device_id: Some(_), .. }) if user == "bot"));
    let push = check(&format!("{PUSH}listen = \"127.0.0.1:9000\"")).unwrap();
    assert!(matches!(&push.mode, Mode::Push(service) if service.path == "/_matrix/app/v1/"));
    for config in [token.mode, password.mode, push.mode] {
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}

#[test]
fn what_is_wrong_with_a_table_is_said() {
    for (text, expected) in [
        (SYNC.to_owned(), "needs `access_token`, or `user` and `password`"),
        (format!("{SYNC}user = \"bot\""), "needs `access_token`, or `user` and `password`"),
        (format!("{SYNC}access_token = \"s3cret\"\npassword = \"s3cret\""), "keep one of the two"),
        (format!("{SYNC}access_token = \"s3cret\"\ndevice_id = \"D\""), "a token has its device"),
        (format!("{SYNC}access_token = \"s3 cret\""), "no token"),
        (format!("{SYNC}access_token = \"s3cret\"\nhs_token = \"x\""), "has no `hs_token`"),
        (format!("{SYNC}access_token = \"x\"\ninvites = \"some\""), "\"all\", \"none\" or a list"),
        (format!("{SYNC}access_token = \"x\"\nstall_timeout = \"30s\""), "longer than `sync_timeout`"),
        (PUSH.to_owned(), "needs `as_token`, `hs_token` and `listen`"),
        (format!("{PUSH}listen = \"127.0.0.1:1\"\nuser = \"x\""), "has no `user`"),
        (format!("{PUSH}listen = \"127.0.0.1:1\"\npath = \"/x\""), "`path` begins and ends with `/`"),
    ] {
        let error = check(&text).unwrap_err();
        assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
    }
}

#[test]
fn an_invite_is_taken_of_whom_the_operator_named() {
    let list = Invites::From(vec!["@ann:a.org".to_owned(), "b.org".to_owned()]);
    for (invites, user, expected) in [
        (&Invites::All, "@x:y", true),
        (&Invites::None, "@x:y", false),
        (&list, "@ann:a.org", true),
        (&list, "@bea:a.org", false),
        (&list, "@bea:b.org", true),
        (&list, "@b.org:c.org", false),
        (&list, "b.org", true),
        (&list, "@x:b.org:8448", false),
    ] {
        assert_eq!(invites.includes(user), expected, "{invites:?} {user}");
    }
}
