use super::*;

fn check(text: &str) -> Result<IrcConfig, String> {
    // Not its `Display`: that repeats the line of the file, and with it a secret.
    let table = toml::Deserializer::parse(text).unwrap();
    IrcConfig::deserialize(table).map_err(|error| error.message().to_owned())
}

#[test]
fn a_table_needs_a_server_and_a_nick_and_is_safe_by_itself() {
    let config = check("server = \"irc.org\"\nnick = \"bot\"\nchannels = [\"#tea\", \"#keyed s3cret\"]").unwrap();
    assert_eq!((config.host.as_str(), config.port, config.tls), ("irc.org", 6697, true));
    assert_eq!((config.user.as_str(), config.realname.as_str()), ("bot", "bot"));
    assert_eq!(config.channels[1], ("#keyed".to_owned(), Some(Secret::new("s3cret"))));
    assert!(!format!("{config:?}").contains("s3cret"));
    let plain = check("server = \"[::1]\"\nnick = \"bot\"\ntls = false").unwrap();
    assert_eq!((plain.host.as_str(), plain.port), ("::1", 6667));
    let sasl =
        check("server = \"a:1\"\nnick = \"bot\"\npassword = \"s3cret\"\nsasl_user = \"b\"\nsasl_password = \"s3cret\"")
            .unwrap();
    assert!(!format!("{sasl:?}").contains("s3cret"));
}

#[test]
fn what_is_wrong_with_a_table_is_said() {
    for (text, expected) in [
        ("server = \"a b\"\nnick = \"bot\"", "`server` is HOST or HOST:PORT"),
        ("server = \"a:port\"\nnick = \"bot\"", "`server` is HOST or HOST:PORT"),
        ("server = \"u@a\"\nnick = \"bot\"", "`server` is HOST or HOST:PORT"),
        ("server = \"a\"\nnick = \"b t\"", "`nick` is one word"),
        ("server = \"a\"\nnick = \"bot\"\nuser = \":x\"", "`user` is one word"),
        ("server = \"a\"\nnick = \"bot\"\nrealname = \"a\\nQUIT\"", "`realname` is one line"),
        ("server = \"a\"\nnick = \"bot\"\npassword = \"s3cret\\nQUIT\"", "a password"),
        ("server = \"a\"\nnick = \"bot\"\nsasl_user = \"x\"", "go together"),
        ("server = \"a\"\nnick = \"bot\"\nchannels = [\"tea\"]", "`channels` has names"),
        ("server = \"a\"\nnick = \"bot\"\nchannels = [\"#a,#b\"]", "`channels` has names"),
        ("server = \"a\"\nnick = \"bot\"\nchannels = [\"#a s3 cret\"]", "`channels` has names"),
    ] {
        let error = check(text).unwrap_err();
        assert!(error.contains(expected) && !error.contains("s3cret"), "{text}: {error}");
    }
}

#[test]
fn two_connectors_with_one_name_on_one_network_exclude_each_other() {
    let claims = |nick: &str| check(&format!("server = \"a\"\nnick = \"{nick}\"")).unwrap().claims();
    assert!(claims("bot")[0].excludes(&claims("Bot")[0]));
    assert!(!claims("bot")[0].excludes(&claims("other")[0]));
}
