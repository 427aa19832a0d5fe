use proptest::prelude::*;

use super::*;
use crate::metrics::snapshot::Value;

/// Checks how an expression prints, or what is said of it.
#[track_caller]
fn check(text: &str, expected: &str) {
    let printed = match text.parse::<Expression>() {
        Ok(expression) => expression.to_string(),
        Err(error) => error.to_string(),
    };
    assert_eq!(printed, expected, "{text}");
}

#[test]
fn expressions_read_as_people_write_them() {
    check("a", "a");
    check(" a/b - 2*( 3 +c ) ", "a / b - 2 * (3 + c)");
    check("(a - b) - c", "a - b - c");
    check("a - (b - c)", "a - (b - c)");
    check("--a * -(b + 1e3)", "--a * -(b + 1000)");
    check("1e-9 + 1e+20", "1e-9 + 1e20");
    check("a{ b = \"x\\\"y\\\\\" , c!=\"\",d=~\"e|f\",}", "a{b=\"x\\\"y\\\\\", c!=\"\", d=~\"e|f\"}");
    check("p99(a[90s]) / max(b{c=\"d\"}[1h 30m])", "p99(a[90s]) / max(b{c=\"d\"}[90m])");
    check("count(a{}) + min", "count(a) + min");
}

#[test]
fn what_is_wrong_is_said_with_its_column_and_what_was_likely_meant() {
    check("", "column 1 of the expression: a number, a metric or a function must stand here, not the end");
    check("a b", "column 3 of the expression: an operator, or the end, must stand here, not `b`");
    check("1 + rat(a[5m])", "column 5 of the expression: there is no function `rat`; did you mean `rate`?");
    check(
        "quantile(a[5m])",
        "column 1 of the expression: there is no function `quantile`; there are rate, increase, avg, min, max, p50, \
         p90, p95, p99, slope, anomaly and count",
    );
    check("rate(a)", "column 7 of the expression: `rate` needs a window: `rate(NAME[5m])`");
    check("count(a[5m])", "column 8 of the expression: `count` has no window: it is how many series there are now");
    check("rate(a[7h])", "column 8 of the expression: a window is longer than nothing and at most 6h");
    check(
        "rate(a[five])",
        "column 8 of the expression: in the window: `five` is no time: write whole numbers, each with one of ms, s, m, h, d, \
         such as \"30s\" or \"1h 30m\"",
    );
    check("ä", "column 1 of the expression: a number, a metric or a function must stand here, not `ä`");
    check("a{b=\"ää}", "column 5 of the expression: the quote that begins here never ends");
    check("a{b~\"c\"}", "column 4 of the expression: `=`, `!=` or `=~` must stand here, not `~`");
    check("a{b=\"c\" d=\"e\"}", "column 9 of the expression: `,` or `}` must stand here, not `d`");
    check("(a", "column 3 of the expression: `)` must stand here, not the end");
    check("5m", "column 1 of the expression: `5m` is no number");
    check("rate(a[5m]", "column 11 of the expression: `)` must stand here, not the end");
}

#[test]
fn an_expression_is_bounded() {
    for text in ["(".repeat(500), "-".repeat(500), "1+".repeat(300), "a".repeat(2_000), "rate(a[5m])+".repeat(9)] {
        let error = text.parse::<Expression>().unwrap_err();
        let message = error.to_string();
        assert!(message.contains("at most"), "{message}");
    }
}

#[test]
fn labels_are_compared_word_for_word() {
    let labels: Vec<(Box<str>, Box<str>)> = vec![("bot".into(), "a.b".into()), ("class".into(), "x".into())];
    let series = Series { labels: labels.into(), value: Value::Number(1.0) };
    for (text, expected) in [
        ("m", true),
        ("m{bot=\"a.b\"}", true),
        ("m{bot=\"a\"}", false),
        ("m{bot!=\"a\", class=\"x\"}", true),
        ("m{bot=~\"c|a.b\"}", true),
        ("m{bot=~\"a.*\"}", false),
        ("m{other=\"\"}", true),
        ("m{other!=\"\"}", false),
    ] {
        let Ok(Expression(Node::Now(selector))) = text.parse() else { panic!("{text}") };
        assert_eq!(selector.takes(&series), expected, "{text}");
    }
}

#[test]
fn an_expression_knows_its_metrics_and_whether_they_are_of_bots() {
    let expression: Expression = "rate(b[5m]) / a + count(bothost_bot_phase) - a".parse().unwrap();
    assert_eq!(expression.names(), ["a", "b", "bothost_bot_phase"]);
    assert!(!expression.is_of_bots(), "how many there are is of no bot");
    assert!("p99(bothost_attempt_fuel_units[5m]) / 2".parse::<Expression>().unwrap().is_of_bots());
}

fn selector() -> impl Strategy<Value = Selector> {
    let word = "[a-z_][a-z0-9_]{0,8}";
    let text = "[ -{}~äü]{0,8}";
    let test = prop_oneof![
        "[ -~ä]{0,8}".prop_map(|value| Test::Is(value.into())),
        "[ -~ä]{0,8}".prop_map(|value| Test::IsNot(value.into())),
        prop::collection::vec(text, 1..4)
            .prop_map(|values| Test::IsOneOf(values.iter().map(|value| value.as_str().into()).collect())),
    ];
    let matcher = (word, test).prop_map(|(label, test)| Matcher { label: label.into(), test });
    (word, prop::collection::vec(matcher, 0..3)).prop_map(|(name, matchers)| Selector { name: name.into(), matchers })
}

fn node() -> impl Strategy<Value = Node> {
    let over = (0..Function::ALL.len(), selector(), 1u64..21_600_000).prop_map(|(function, selector, millis)| {
        Node::Over(Over { function: Function::ALL[function].1, selector, window: Duration::from_millis(millis) })
    });
    let leaf = prop_oneof![
        2 => prop::num::f64::POSITIVE.prop_filter("finite", |number| number.is_finite()).prop_map(Node::Number),
        2 => (0u32..1_000).prop_map(|number| Node::Number(f64::from(number))),
        2 => selector().prop_map(Node::Now),
        1 => selector().prop_map(Node::Count),
        2 => over,
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let operator =
            prop::sample::select(vec![Operator::Add, Operator::Subtract, Operator::Multiply, Operator::Divide]);
        prop_oneof![
            inner.clone().prop_map(|node| Node::Negated(Box::new(node))),
            (operator, inner.clone(), inner).prop_map(|(operator, left, right)| Node::Binary {
                operator,
                left: Box::new(left),
                right: Box::new(right)
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(node in node()) {
        let expression = Expression(node);
        let printed = expression.to_string();
        // What is printed may be longer than what anybody may write.
        prop_assume!(printed.len() <= 1_024 && expression.overs().len() <= 8);
        prop_assert_eq!(printed.parse(), Ok(expression), "{}", printed);
    }

    #[test]
    fn reading_any_text_ends_well(text in "[ -~äü水\n]{0,60}", words in "(rate|a|\\(|\\)|\\[5m\\]|\\{|\\}|b=\"c|\"|[-+*/ 1.e,]){0,40}") {
        for text in [text, words] {
            if let Err(error) = text.parse::<Expression>() {
                prop_assert!(error.column <= text.chars().count() + 1, "{:?}", text);
            }
        }
    }
}
