use super::*;
use proptest::prelude::*;
use serde::{Deserialize, Deserializer, de};

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    number: u32,
    list: Vec<u8>,
    secret: Option<Secret>,
    word: Option<Word>,
    #[serde(deserialize_with = "talkative")]
    talk: Option<Talk>,
    table: BTreeMap<String, Needy>,
    any: serde_json::Map<String, serde_json::Value>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Needy {
    first: u32,
    second: u32,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Yes,
    No,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Talk {
    text: String,
}

/// Tells in its mistake what it read, as a careless section might.
fn talkative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Talk>, D::Error> {
    let talk = Talk::deserialize(deserializer)?;
    Err(de::Error::custom(format!("`{}` is wrong", talk.text)))
}

fn variables() -> Variables {
    [("TOKEN", "hunter2")].into_iter().collect()
}

fn planned(path: &[&str], _: Option<&str>, name: &str) -> bool {
    path.is_empty() && name == "later"
}

fn read(text: &str) -> Result<Sample, ConfigError> {
    Document::parse(text, Path::new("c.toml"), &variables(), planned)?.read()
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let found = read(text).map_or_else(|error| error.to_string(), |sample| format!("{sample:?}"));
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{text}");
}

#[test]
fn every_mistake_is_told_once_in_the_order_of_the_text() {
    check(
        "word = \"maybe\"\nnumbr = 1\nnumber = \"x\"\n[table.a]\nfirst = true\nthird = 1\n[later]\n",
        &[
            "c.toml:1:8: `maybe` is no value of `word`; there are `yes`, `no`",
            "c.toml:2:1: unknown key `numbr`, did you mean `number`?",
            "c.toml:3:10: `number` must be a whole number from 0 to 4294967295, not a string",
            "c.toml:5:9: `table.a.first` must be a whole number from 0 to 4294967295, not true or false",
            "c.toml:6:1: unknown key `third` in [table.a]; there are `first`, `second`",
            "c.toml:7:2: `[later]` is not there yet",
        ],
    );
}

#[test]
fn what_a_table_lacks_is_told_unless_it_was_read_in_part() {
    check("[table.a]\nfirst = 1\n", &["c.toml:1:1: `second` is missing in [table.a]"]);
    check(
        "[table.a]\nfirst = 1\nsecnd = 2\n",
        &["c.toml:3:1: unknown key `secnd` in [table.a], did you mean `second`?"],
    );
}

#[test]
fn each_element_of_an_array_has_its_own_mistake() {
    check(
        "list = [1, 256,\n  \"x\"]",
        &[
            "c.toml:1:12: `list` must be a whole number from 0 to 255, not 256",
            "c.toml:2:3: `list` must be a whole number from 0 to 255, not a string",
        ],
    );
}

#[test]
fn a_table_is_not_read_from_an_array() {
    check("table = { a = [1, 2] }", &["c.toml:1:15: `table.a` must be a table, not an array"]);
}

#[test]
fn what_was_filled_in_is_never_told() {
    check("word = \"${TOKEN}\"", &["c.toml:1:8: `${TOKEN}` is no value of `word`; there are `yes`, `no`"]);
    check("talk = { text = \"a${TOKEN}\" }", &["c.toml:1:8: `talk`: `a[redacted]` is wrong"]);
    check(
        "number = \"${TOKEN}\"",
        &["c.toml:1:10: `number` must be a whole number from 0 to 4294967295, not a string"],
    );
}

#[test]
fn a_secret_comes_from_the_text_the_environment_or_a_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "from a file\n").unwrap();
    for (value, expected) in
        [("\"plain\"", "plain"), ("\"<${TOKEN}>\"", "<hunter2>"), ("{ file = \"token\" }", "from a file")]
    {
        let text = format!("secret = {value}");
        let path = dir.path().join("c.toml");
        let variables = variables();
        let document = Document::parse(&text, &path, &variables, planned).unwrap();
        let sample: Sample = document.read().unwrap();
        assert_eq!(sample.secret.unwrap().expose(), expected);
    }
}

#[cfg(unix)]
#[test]
fn a_secret_file_that_others_may_read_is_warned_of_once() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (dir.path().join("token"), dir.path().join("c.toml"));
    std::fs::write(&file, "s").unwrap();
    let text = "number = 1\nsecret = { file = \"token\" }\n";
    for (mode, warnings) in [(0o600, 0), (0o640, 1), (0o604, 1)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let variables = variables();
        let document = Document::parse(text, &path, &variables, planned).unwrap();
        document.read::<Sample>().unwrap();
        document.read::<Sample>().unwrap();
        let found = document.warnings();
        assert_eq!(found.len(), warnings, "{mode:o}");
        assert!(found.iter().all(|warning| warning.contains("c.toml:2:10: ") && warning.contains("chmod 600")));
    }
}

#[test]
fn nothing_missing_becomes_an_empty_secret() {
    check("secret = \"${NONE}\"", &["c.toml:1:10: `secret`: the environment variable `NONE` is not set"]);
    check(
        "secret = { file = \"nowhere/token\" }",
        &[
            "c.toml:1:10: `secret`: the secret's file `nowhere/token` cannot be read: No such file or directory (os error 2)",
        ],
    );
    check("secret = 5", &["c.toml:1:10: `secret` must be a string or `{ file = \"PATH\" }`, not a whole number"]);
}

#[test]
fn settings_become_json() {
    let sample = read(
        "[any]\nwhen = 1979-05-27T07:32:00Z\nday = 1979-05-27\nhex = 0xff\nbig = 18446744073709551615\nhalf = -0.5\n\
         list = [1, \"${TOKEN}\", { x = true }]\n",
    )
    .unwrap();
    let expected = serde_json::json!({
        "when": "1979-05-27T07:32:00Z", "day": "1979-05-27", "hex": 255, "big": u64::MAX, "half": -0.5,
        "list": [1, "hunter2", { "x": true }],
    });
    assert_eq!(serde_json::Value::Object(sample.any), expected);
    check("any.x = inf", &["c.toml:1:9: `any.x`: must be a finite number"]);
    check("any.x = 18446744073709551616", &["c.toml:1:9: `any.x`: the number does not fit 64 bits"]);
}

#[test]
fn mistakes_of_syntax_have_their_place() {
    check("number = ", &["c.toml:1:10: not TOML: string values must be quoted, expected literal string"]);
    check("a = 1\na = 2", &["c.toml:2:1: `a` is there twice"]);
    check("a = 1\r\n\tb = [1,\r\n", &["c.toml:2:9: not TOML: unclosed array, expected `]`"]);
    check("é = 1", &["c.toml:1:1: not TOML: invalid unquoted key, expected letters, numbers, `-`, `_`"]);
    check("\u{feff}number = 1\nnumbr = 2", &["c.toml:2:1: unknown key `numbr`, did you mean `number`?"]);
    check("\u{feff}numbr = 2", &["c.toml:1:1: unknown key `numbr`, did you mean `number`?"]);
}

#[test]
fn columns_count_characters() {
    check("any = { \"é\" = \"ü\", b = nan }", &["c.toml:1:24: `any.b`: must be a finite number"]);
    check("[any]\r\n\t\tb = nan", &["c.toml:2:7: `any.b`: must be a finite number"]);
}

#[test]
fn no_message_moves_the_cursor() {
    check(
        "\"a\\u001b[31m\\n\" = 1",
        &[
            "c.toml:1:1: unknown key `a\\u{1b}[31m\\n`; there are `number`, `list`, `secret`, `word`, `talk`, `table`, `any`",
        ],
    );
}

#[test]
fn a_text_full_of_mistakes_is_reported_in_part() {
    let text: String = (0..10_000).map(|n| format!("wrong_{n} = 1\n")).collect();
    let error = read(&text).unwrap_err().to_string();
    assert_eq!(error.lines().count(), MISTAKES_MAX + 1);
    assert!(error.ends_with("there may be more mistakes than these 50"), "{error}");
    let noise = "] = [\n".repeat(100_000);
    assert!(read(&noise).unwrap_err().to_string().lines().count() <= SYNTAX_MISTAKES_MAX);
}

#[test]
fn deep_nesting_is_refused_before_it_is_read() {
    for text in ["[".repeat(10_000), format!("x = {}", "[".repeat(10_000)), format!("x = {}", "{x=".repeat(10_000))] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains("nested deeper than 64 levels"), "{error}");
    }
    let keys = format!("x = 1\nx = {{ {} = 1 }}", vec!["a"; 300_000].join("."));
    assert!(read(&keys).unwrap_err().to_string().starts_with("c.toml:2:"));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    let error = |bytes: Option<&[u8]>| {
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        read_text(&path).unwrap_err().to_string().replace(&path.display().to_string(), "c.toml")
    };
    assert_eq!(error(None), "c.toml: there is no such file; an empty one is enough to begin with");
    assert_eq!(error(Some(b"a = 1\n\xc3\xa9 = \"\xff\"")), "c.toml:2:6: is not UTF-8");
    let large = vec![b'#'; FILE_BYTES_MAX as usize + 1];
    assert_eq!(error(Some(&large)), "c.toml: is larger than 1MiB, the most that is read");
    std::fs::write(&path, &large[1..]).unwrap();
    assert!(read_text(&path).is_ok());
    assert!(read_text(dir.path()).unwrap_err().to_string().contains("cannot be read"));
}

/// Pieces that make texts which are almost TOML.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "\n",
        "\r\n",
        " ",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "#",
        "a",
        "number",
        "table.a",
        "word",
        "secret",
        "any",
        "first",
        "é",
        "1",
        "0x",
        "1.5",
        "1979-05-27",
        "${TOKEN}",
        "${",
        "$${",
        "\\",
        "\\u00e9",
        "file",
        "\u{feff}",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_panics_and_every_mistake_is_inside_it(text in prop_oneof![pieces(), "(?s).{0,200}"]) {
        if let Err(ConfigError::Mistakes(mistakes)) = read(&text) {
            prop_assert!(!mistakes.is_empty());
            for Mistake { place, message } in mistakes {
                let Place::File { line, column, .. } = place else { panic!("{place}") };
                let line = text.split('\n').nth(line - 1).expect("a line of the text");
                prop_assert!(column <= line.chars().count() + 1);
                prop_assert!(!message.contains("hunter2") && !message.contains('\n'), "{message}");
            }
        }
    }
}
